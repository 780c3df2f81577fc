//! `serve`: runs the whole system in one process.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;
use tributary_api::brokers::Brokers;
use tributary_api::caller::{Caller, internal_token};
use tributary_api::first_key::create_first_key;
use tributary_api::leadership::Leadership;
use tributary_api::settings::apply::{SettingsApply, apply};
use tributary_api::settings::standard::standard_types;
use tributary_api::streaming::DeadLetters;
use tributary_api::token::{Secret, SecretSource};
use tributary_api::transport::PushTransport;
use tributary_connect::adapters::Adapters;
use tributary_connect::bindings::{Bindings, BindingsConfig};
use tributary_connect::trust::system_roots_file;
use tributary_connect::webhooks::{Rules, Settings, WebhookConfig, Webhooks};
use tributary_engine::Options;
use tributary_server::{Server, ServerConfig, Services};
use tributary_streams::driver::Streams;

use crate::apply::{SettingsFile, read_for_serve, summary};
use crate::cache;
use crate::cli;
use crate::client::Client;
use crate::cluster;
use crate::cluster::leadership::ClusterLeadership;
use crate::config::{self, Config};
use crate::config_source::{self, ConfigWatch};
use crate::demo;
use crate::discovery;
use crate::exit::{Exit, StorageFailed, usage_error};
use crate::files;
use crate::log;
use crate::master_key;
use crate::reload::{rate_limit, reload, tls_files};
use crate::stop::{ServeSignals, StopSignal};
use crate::store::Store;
use crate::terminal::print_line;

/// Longest wait at a start for figures that rules look at.
const FIGURES_WAIT: Duration = Duration::from_secs(60);
/// Interval at which the main thread checks whether to stop.
const STOP_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Runs `serve`.
pub(crate) fn serve(arguments: &cli::Serve) -> anyhow::Result<Exit> {
    // Before it is read, so that no change is missed.
    let config_watch = config_source::watch(arguments.config.as_deref())?;
    let config = read_config(arguments)?;
    let registry = discovery::open(&config.discovery)?;
    let to_apply = arguments.apply.as_deref();
    let to_apply = to_apply.map(|file| read_for_serve(file, &arguments.prune));
    let to_apply = to_apply.transpose()?;
    let log_level = log::start(&config.log, arguments.demo)?;
    let stop = StopSignal::install()?;
    let signals = ServeSignals::install()?;
    let is_node = config.cluster.log.is_some();
    if is_node {
        refuse_on_a_node(arguments)?;
    } else {
        Store::check_directory(config.backend, &config.data, arguments.sandbox)?;
    }
    require_free_address(config.listen)?;
    config.grpc_listen.map_or(Ok(()), require_free_address)?;
    let options = Options {
        queue_length_max: config.limits.queue_length_max,
        record_cache: cache::record_cache(&config.cache)?,
        ..Options::default()
    };
    let store = match is_node {
        true => cluster::node::open(&config, arguments.sandbox, options, &stop)?,
        false => Store::open(
            config.backend,
            &config.data,
            arguments.sandbox,
            options,
            config.limits.history_bytes_max,
        )?,
    };
    if let Some(member) = &store.member {
        // What follows reads settings, which a node that joins does not have at first.
        cluster::node::catch_up(&store, member, &stop).inspect_err(|_| store.shutdown())?;
    }
    let internal = Secret::random();
    let files = files::raise_file_limit();
    let webhook_config = webhook_config(&config, &store, files);
    let server_config = server_config(&config, &internal, &webhook_config, files);
    let ids = store.engine.reader().ids().clone();
    let keyring = webhook_config.keyring.clone();
    let adapters = Arc::new(Adapters::of_build(keyring, ids, store.engine.clock()));
    let brokers: Arc<dyn Brokers> = adapters.clone();
    let streams = store.streams.clone();
    let webhooks = Webhooks::start(
        webhook_config,
        store.engine.clone(),
        store.messaging.clone(),
    )
    .context("webhooks")?;
    // Before the server listens: a wrong file ends the start, and no client may reach a server that ends at once.
    if let Some(request) = to_apply {
        let transport = webhooks
            .clone()
            .map(|webhooks| webhooks as Arc<dyn PushTransport>);
        apply_file(&store, transport, brokers.clone(), request)?;
    }
    start_streams(&config, &store, &streams)?;
    wait_for_figures(&streams, &stop);
    let services = Services {
        messaging: store.messaging.clone(),
        transport: webhooks
            .clone()
            .map(|webhooks| webhooks as Arc<dyn PushTransport>),
        brokers,
        streaming: streams.clone(),
        risk: streams.rules(),
        leadership: leadership(&config, &store),
    };
    let server = Server::start(server_config, store.engine.clone(), services)?;
    // Create the key last: the key is shown only once, and a failed start must not use that up.
    let key = create_first_key_once(&config, &store)?;
    server.set_ready();
    let bindings = start_bindings(&store, adapters)?;
    let scheme = if config.tls.certificate.is_some() {
        "https"
    } else {
        "http"
    };
    let access = ServerAccess {
        url: format!("{scheme}://{}", server.addr()),
        grpc: server.grpc_addr().map(|addr| format!("{scheme}://{addr}")),
        internal,
        key,
    };
    let announced =
        registry.map(|registry| registry.announce(&config, &access.url, access.grpc.as_deref()));
    let announced = announced.transpose()?;
    let result = announce(arguments, &config, &store, &access).inspect(|()| {
        let mut config = config;
        while !stop.is_requested() && store.failure().is_none() {
            std::thread::sleep(STOP_POLL_INTERVAL);
            signals.log_ignored();
            let is_changed = config_watch.as_ref().is_some_and(ConfigWatch::take_change);
            if signals.take_reload() || is_changed {
                config = reload(&config, || read_config(arguments), &server, &log_level);
            }
        }
        tracing::info!("stopping: requests in flight are answered first");
    });
    let failure = store.failure();
    if let Some(member) = &store.member {
        // Another node decides while this one answers what it has taken.
        cluster::leadership::hand_over(member, store.messaging.as_deref(), None);
    }
    // First what takes commands in, so that every accepted command is answered.
    drop(announced);
    drop(bindings);
    streams.stop();
    server.shutdown();
    if let Some(webhooks) = webhooks {
        webhooks.stop();
    }
    store.shutdown();
    match failure.or_else(|| store.storage_failure()) {
        Some(why) => Err(StorageFailed(why).into()),
        None => result.map(|()| Exit::Done),
    }
}

/// Returns the standing of this node in its cluster; none for a system of one process.
fn leadership(config: &Config, store: &Store) -> Option<Arc<dyn Leadership>> {
    let member = store.member.clone()?;
    Some(Arc::new(ClusterLeadership {
        node: config.cluster.node.clone().unwrap_or_default(),
        member,
        messaging: store.messaging.clone(),
    }))
}

/// Starts what the settings say of brokers. Without subscriptions there are no replies, and so no bindings.
fn start_bindings(store: &Store, adapters: Arc<Adapters>) -> anyhow::Result<Option<Arc<Bindings>>> {
    let config = BindingsConfig {
        adapters,
        permit: store.permit.clone(),
    };
    let start = |messaging| Bindings::start(store.engine.clone(), messaging, config);
    let bindings = store.messaging.clone().map(start).transpose();
    bindings.context("bindings")
}

/// Starts what the settings say of streams.
fn start_streams(config: &Config, store: &Store, streams: &Streams) -> anyhow::Result<()> {
    let folder = (config.backend == config::Backend::Embedded).then(|| config.data.join("streams"));
    let (engine, permit) = (store.engine.clone(), store.permit.clone());
    let messaging = store.messaging.clone();
    let dead_letters = messaging.map(|messaging| messaging as Arc<dyn DeadLetters>);
    let started = streams.start(engine, permit, folder.as_deref(), dead_letters);
    started.context("streams")
}

/// Waits until the streams have caught up that rules look at, so that the first payments are assessed by all that is known. A stream may
/// take long, after a restore: then payments go on without its figures.
fn wait_for_figures(streams: &Streams, stop: &StopSignal) {
    let begun = Instant::now();
    let rules = streams.rules();
    let mut is_told = false;
    while !rules.have_figures() && !stop.is_requested() {
        if begun.elapsed() >= FIGURES_WAIT {
            tracing::warn!(
                "the streams that rules look at are still catching up: until then their figures are missing"
            );
            return;
        }
        if !std::mem::replace(&mut is_told, true) {
            tracing::info!("waiting for the streams that rules look at");
        }
        std::thread::sleep(STOP_POLL_INTERVAL);
    }
}

/// Makes the settings as the file of `--apply` says, in the platform's name.
fn apply_file(
    store: &Store,
    transport: Option<Arc<dyn PushTransport>>,
    brokers: Arc<dyn Brokers>,
    read: SettingsFile,
) -> anyhow::Result<()> {
    let file: SettingsApply = serde_json::from_value(read.request.clone())
        .map_err(|error| usage_error(format!("--apply: {}: {error}", read.path)))?;
    if store.messaging.is_none() {
        return Err(usage_error(
            "--apply needs the embedded backend: in memory no subscriptions are kept",
        ));
    }
    let types = standard_types(
        store.engine.reader(),
        transport,
        brokers,
        store.streams.clone(),
        store.streams.rules(),
    );
    let done = apply(&store.engine, &types, &Caller::system(), &file).map_err(|error| {
        let message = format!(
            "--apply: {}: {}",
            read.place(error.parameter()),
            error.message()
        );
        match error.status() {
            400..500 => usage_error(message),
            _ => anyhow::anyhow!(message),
        }
    })?;
    let done = serde_json::to_value(&done).expect("it is JSON");
    tracing::info!("applied {}", summary(&done));
    Ok(())
}

/// Addresses and keys of the running server.
struct ServerAccess {
    url: String,
    /// URL for gRPC, if it is served.
    grpc: Option<String>,
    internal: Secret,
    /// Platform key, on the first start only.
    key: Option<String>,
}

/// Creates the platform key on the first start, and writes it to the configured file, if any.
pub(crate) fn create_first_key_once(
    config: &Config,
    store: &Store,
) -> anyhow::Result<Option<String>> {
    // A node makes no keys of its own.
    if store.member.is_some() || !store.engine.reader().api_keys().is_empty() {
        return Ok(None);
    }
    let file = config.platform_key_file.as_deref();
    let file = file.map(SecretFile::create).transpose()?;
    let key = create_first_key(&store.engine).with_context(|| match store.engine.status() {
        status if status.storage_full => format!(
            "cannot make the first platform key: there is no space in {}, see the warning in the log for how much is needed",
            config.data.display()
        ),
        _ => "cannot make the first platform key".to_owned(),
    })?;
    if let (Some(file), Some(key)) = (file, &key) {
        file.write(key)?;
    }
    Ok(key)
}

/// Refuses options that write: on a cluster, clients of whichever node leads do that.
fn refuse_on_a_node(arguments: &cli::Serve) -> anyhow::Result<()> {
    if arguments.demo {
        return Err(usage_error(
            "--demo fills a system of one process: leave it out on a node of a cluster",
        ));
    }
    if arguments.apply.is_some() {
        return Err(usage_error(
            "--apply changes settings at each start of one process: on a cluster, run `tributary apply --server URL`",
        ));
    }
    Ok(())
}

/// Checks that no other process listens on the address. The server's listeners share their address, and would share the
/// address with another process too.
fn require_free_address(address: SocketAddr) -> anyhow::Result<()> {
    match TcpListener::bind(address) {
        Ok(_freed_at_once) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot listen on {address}")),
    }
}

/// Reads the file and the environment; the command line overrides them.
fn read_config(arguments: &cli::Serve) -> anyhow::Result<Config> {
    let mut config = Config::load(arguments.config.as_deref(), std::env::vars())?;
    if let Some(data) = &arguments.data {
        config.data.clone_from(data);
    }
    if let Some(listen) = arguments.listen {
        config.listen = listen;
    }
    if arguments.grpc_listen.is_some() {
        config.grpc_listen = arguments.grpc_listen;
    }
    Ok(config)
}

/// Prints where the server is, and runs the demo if it is asked for.
fn announce(
    arguments: &cli::Serve,
    config: &Config,
    store: &Store,
    access: &ServerAccess,
) -> anyhow::Result<()> {
    let (url, key) = (&access.url, &access.key);
    // A key that is written to a file is not shown.
    let shown = key
        .as_deref()
        .filter(|_| config.platform_key_file.is_none());
    if arguments.json {
        let first_line = json!({
            "listening": url, "grpc": access.grpc, "data": config.data, "platform_key": shown
        });
        print_line(&first_line.to_string());
    } else {
        print_line(&format!(
            "tributary {} listening on {url}",
            env!("CARGO_PKG_VERSION")
        ));
        if arguments.sandbox {
            print_line("sandbox: POST /v1/sandbox/clock moves the clock; no real money here");
        }
        if let Some(grpc) = &access.grpc {
            print_line(&format!("gRPC on {grpc}"));
        }
        if let Some(key) = shown {
            print_line(&format!(
                "platform key (may do everything; shown only now):\n  {key}"
            ));
        }
        if !store.has_platform_key() {
            print_line(
                "no platform key is active: stop the server, then create one with `tributary keys --data DIR`",
            );
        }
    }
    if arguments.demo {
        run_demo(config, store, access)?;
    }
    Ok(())
}

/// Fills an empty system, and prints commands to try. The key is kept beside the data, so that the commands work after a
/// restart too.
fn run_demo(config: &Config, store: &Store, access: &ServerAccess) -> anyhow::Result<()> {
    let (url, key) = (&access.url, access.key.as_deref());
    if config.tls.certificate.is_some() {
        return Err(usage_error("--demo does not work with TLS"));
    }
    let demo_key_file = config.data.join("demo-platform-key");
    let memory = config.backend == config::Backend::Memory;
    if let (Some(key), false) = (key, memory) {
        SecretFile::create(&demo_key_file)?.write(key)?;
    }
    let mut client = Client::new(
        url,
        &internal_token(store.engine.reader().ids(), &access.internal),
        None,
    )?;
    let reader = store.engine.reader();
    // The file demo-platform-key marks a demo, which may have been interrupted.
    if reader.trial_balance().1.is_empty() || demo_key_file.exists() {
        let day = demo::fill_system(&mut client)?;
        demo::print_summary(&mut client, &day, url)?;
    } else {
        print_line("This system is not empty, so --demo changed nothing.");
    }
    let key = match key {
        Some(key) => Some(key.to_owned()),
        None => config::read_secret(&demo_key_file).ok(),
    };
    let key = key.unwrap_or_else(|| "YOUR-PLATFORM-KEY".to_owned());
    print_line("See some payments:");
    print_line(&format!(
        "  curl -s '{url}/v1/payments?limit=3' -H 'Authorization: Bearer {key}'"
    ));
    if !memory {
        // The program as the caller named it: it need not be in PATH.
        let program = std::env::args()
            .next()
            .unwrap_or_else(|| "tributary".to_owned());
        print_line(&format!(
            "Check every record:  {program} verify --data {}",
            config.data.display()
        ));
    }
    print_line("Stop with Ctrl-C; everything is still there afterwards.");
    Ok(())
}

fn server_config(
    config: &Config,
    internal: &Secret,
    webhooks: &WebhookConfig,
    files: Option<u64>,
) -> ServerConfig {
    let mut server = ServerConfig {
        listen: config.listen,
        grpc_listen: config.grpc_listen,
        internal: Some(internal.clone()),
        ready_at_start: false,
        secrets: key_secrets(webhooks),
        statement_cache_bytes_max: cache::statement_bytes_max(&config.cache),
        cache_policy: cache::policy(&config.cache),
        ..ServerConfig::default()
    };
    server.tls = tls_files(&config.tls);
    server.public_metrics = config.metrics_public;
    server.limits.body_bytes_max = config.limits.body_bytes_max;
    server.limits.streams_max = config.limits.streams_max;
    server.limits.connections_max = connections_max(config, webhooks, files);
    // One address may take a quarter, so that no single caller keeps the others out.
    let per_address = config.limits.connections_per_address_max;
    let quarter = (server.limits.connections_max / 4).max(1);
    server.limits.connections_per_address_max = per_address.unwrap_or(quarter);
    server.limits.rate = rate_limit(&config.limits);
    server.limits.abuse = Some(config.abuse.limits());
    server.peer_ca_file = config
        .cluster
        .peer_ca_file
        .clone()
        .or_else(system_roots_file);
    server
}

/// Returns the source of the secrets of API keys; none without the master key.
fn key_secrets(webhooks: &WebhookConfig) -> Option<SecretSource> {
    let key = webhooks.keyring.key().ok()?;
    Some(SecretSource::new(key.api_key_secrets()))
}

fn webhook_config(config: &Config, store: &Store, files: Option<u64>) -> WebhookConfig {
    let path = master_key::master_key_path(config);
    let given = &config.webhooks;
    WebhookConfig {
        keyring: match store.member {
            None => master_key::open(&store.engine, &path),
            Some(_) => master_key::open_existing(&store.engine, &path),
        },
        settings: Settings {
            rules: Rules {
                allow_http: given.allow_http,
                allow_private: given.allow_private,
                allow_hosts: given.allow_hosts.clone(),
                ports: given.ports.clone(),
            },
            ca_file: given.ca_file.clone(),
            under_way_max: files::webhooks_max(files),
            ..Settings::default()
        },
    }
}

/// Returns the maximum number of connections: the configured one, or fewer if the limit on open files is too low.
fn connections_max(config: &Config, webhooks: &WebhookConfig, files: Option<u64>) -> usize {
    let wanted = config.limits.connections_max;
    // Each attempt may keep another connection open for the next attempt.
    let for_webhooks = 2 * webhooks.settings.under_way_max as u64;
    let left = files.map(|files| files.saturating_sub(for_webhooks));
    let within = files::connections_max(wanted, left);
    if within < wanted {
        tracing::warn!(
            wanted,
            within,
            files,
            "fewer connections than limits.connections_max: raise the limit on open files (ulimit -n)"
        );
    }
    within
}

/// A file for a secret, readable by the owner only. The file appears complete or not at all.
struct SecretFile<'a> {
    path: &'a Path,
    unfinished: PathBuf,
    file: File,
}

impl SecretFile<'_> {
    /// Creates the file under a temporary name, so that an error occurs before there is a secret.
    fn create(path: &Path) -> anyhow::Result<SecretFile<'_>> {
        let mut name = path.as_os_str().to_owned();
        name.push(".unfinished");
        let unfinished = PathBuf::from(name);
        let cannot = || format!("cannot write {}", path.display());
        match std::fs::remove_file(&unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(cannot);
            }
            _ => {}
        }
        let mut options = File::options();
        let options = options.write(true).create_new(true).mode(0o600);
        let file = options.open(&unfinished).with_context(cannot)?;
        Ok(SecretFile {
            path,
            unfinished,
            file,
        })
    }

    fn write(mut self, secret: &str) -> anyhow::Result<()> {
        writeln!(self.file, "{secret}")?;
        self.file.sync_all()?;
        std::fs::rename(&self.unfinished, self.path)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}
