//! `serve`: the whole system in one process.

use std::fs::File;
use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use tributary_api::caller::internal_token;
use tributary_api::first_key::create_first_key;
use tributary_api::token::Secret;
use tributary_api::transport::PushTransport;
use tributary_connect::webhooks::{Rules, Settings, WebhookConfig, Webhooks};
use tributary_engine::Options;
use tributary_server::{RateLimit, Server, ServerConfig, TlsFiles};

use crate::cli;
use crate::client::Client;
use crate::config::{self, Config, LogFormat};
use crate::demo;
use crate::exit::{Exit, StorageFailed, wrong_use};
use crate::files;
use crate::stop::Stop;
use crate::store::Store;
use crate::terminal::print_line;

/// How often the main thread looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Runs `serve`.
pub(crate) fn serve(arguments: &cli::Serve) -> anyhow::Result<Exit> {
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
    start_log(&config.log, arguments.demo)?;
    let stop = Stop::on_signals()?;
    must_be_free(config.listen)?;
    config.grpc_listen.map_or(Ok(()), must_be_free)?;
    let options = Options {
        queue_length_max: config.limits.queue_length_max,
        ..Options::default()
    };
    let history_bytes_max = config.limits.history_bytes_max;
    let store = Store::open(config.backend, &config.data, options, history_bytes_max)?;
    let internal = Secret::random();
    let files = files::raise_limit();
    let webhook_config = webhook_config(&config, files);
    let server_config = server_config(&config, &internal, &webhook_config, files);
    let webhooks = Webhooks::start(
        webhook_config,
        store.engine.clone(),
        store.messaging.clone(),
    )
    .context("webhooks")?;
    let server = Server::start(
        server_config,
        store.engine.clone(),
        store.messaging.clone(),
        webhooks.clone().map(|it| it as Arc<dyn PushTransport>),
    )?;
    // Last of all that can fail: a start that comes to nothing must not use up the one time that the key is shown.
    let key = first_key(&config, &store)?;
    let scheme = if config.tls.certificate.is_some() {
        "https"
    } else {
        "http"
    };
    let door = Door {
        url: format!("{scheme}://{}", server.addr()),
        grpc: server.grpc_addr().map(|addr| format!("{scheme}://{addr}")),
        internal,
        key,
    };
    let result = serve_until_stopped(arguments, &config, &store, &door, &stop);
    // First the door, then what is behind it: whatever was accepted is answered.
    server.shutdown();
    if let Some(webhooks) = webhooks {
        webhooks.stop();
    }
    store.shutdown();
    match store.failure() {
        Some(why) => Err(StorageFailed(why).into()),
        None => result.map(|()| Exit::Done),
    }
}

/// How to get in.
struct Door {
    url: String,
    /// The same for gRPC, if it is served.
    grpc: Option<String>,
    internal: Secret,
    /// The platform key, on the first start only.
    key: Option<String>,
}

/// The platform key, if this is the first start. Where it belongs into a file, it stands there already.
fn first_key(config: &Config, store: &Store) -> anyhow::Result<Option<String>> {
    if !store.engine.reader().api_keys().is_empty() {
        return Ok(None);
    }
    let file = config.platform_key_file.as_deref();
    let file = file.map(SecretFile::create).transpose()?;
    let key = create_first_key(&store.engine).context("cannot make the first platform key")?;
    if let (Some(file), Some(key)) = (file, &key) {
        file.keep(key)?;
    }
    Ok(key)
}

/// The server's listeners share their address, and would share it with another process: two systems behind one address.
fn must_be_free(address: SocketAddr) -> anyhow::Result<()> {
    match TcpListener::bind(address) {
        Ok(_freed_at_once) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot listen on {address}")),
    }
}

fn serve_until_stopped(
    arguments: &cli::Serve,
    config: &Config,
    store: &Store,
    door: &Door,
    stop: &Stop,
) -> anyhow::Result<()> {
    let (url, key) = (&door.url, &door.key);
    // Where the key goes into a file, it is not shown.
    let shown = key
        .as_deref()
        .filter(|_| config.platform_key_file.is_none());
    if arguments.json {
        let told = json!({
            "listening": url, "grpc": door.grpc, "data": config.data, "platform_key": shown
        });
        print_line(&told.to_string());
    } else {
        print_line(&format!(
            "tributary {} listening on {url}",
            env!("CARGO_PKG_VERSION")
        ));
        if let Some(grpc) = &door.grpc {
            print_line(&format!("gRPC on {grpc}"));
        }
        if let Some(key) = shown {
            print_line(&format!(
                "platform key (may do everything; shown only now):\n  {key}"
            ));
        }
        if !store.has_platform_key() {
            print_line(
                "no platform key is active: stop, then `tributary keys --data DIR` makes one",
            );
        }
    }
    if arguments.demo {
        run_demo(config, store, door)?;
    }
    while !stop.asked() && store.failure().is_none() {
        std::thread::sleep(LOOK);
    }
    tracing::info!("stopping: requests in flight are answered first");
    Ok(())
}

/// The demo's key is kept beside the data, so that the line to paste works after a restart too.
fn run_demo(config: &Config, store: &Store, door: &Door) -> anyhow::Result<()> {
    let (url, key) = (&door.url, door.key.as_deref());
    if config.tls.certificate.is_some() {
        return Err(wrong_use("--demo goes without TLS"));
    }
    let kept = config.data.join("demo-platform-key");
    let memory = config.backend == config::Backend::Memory;
    if let (Some(key), false) = (key, memory) {
        SecretFile::create(&kept)?.keep(key)?;
    }
    let mut client = Client::new(
        url,
        &internal_token(store.engine.reader().ids(), &door.internal),
        None,
    )?;
    let reader = store.engine.reader();
    // Whoever has a demo-platform-key beside the data is in a demo, perhaps one that was interrupted.
    if reader.head().position <= 1 || kept.exists() {
        let day = demo::fill(&mut client)?;
        demo::tell(&mut client, &day, url)?;
    } else {
        print_line("This system is not empty, so --demo changed nothing.");
    }
    let key = match key {
        Some(key) => Some(key.to_owned()),
        None => config::secret_from(&kept).ok(),
    };
    let key = key.unwrap_or_else(|| "YOUR-PLATFORM-KEY".to_owned());
    print_line("See some payments:");
    print_line(&format!(
        "  curl -s '{url}/v1/payments?limit=3' -H 'Authorization: Bearer {key}'"
    ));
    if !memory {
        // As the caller called it: it need not be on the path.
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
        ..ServerConfig::default()
    };
    if let (Some(certificate), Some(key)) = (&config.tls.certificate, &config.tls.key) {
        server.tls = Some(TlsFiles {
            certificate: certificate.clone(),
            key: key.clone(),
        });
    }
    server.public_metrics = config.metrics_public;
    server.limits.body_bytes_max = config.limits.body_bytes_max;
    server.limits.streams_max = config.limits.streams_max;
    server.limits.connections_max = connections_max(config, webhooks, files);
    server.limits.rate = config
        .limits
        .requests_per_second_max
        .map(|requests_per_second| RateLimit {
            requests_per_second,
            burst: requests_per_second,
        });
    server
}

fn webhook_config(config: &Config, files: Option<u64>) -> WebhookConfig {
    let beside = || {
        let mut name = config.data.clone().into_os_string();
        name.push(".key");
        name.into()
    };
    let given = &config.webhooks;
    WebhookConfig {
        master_key_file: config.master_key_file.clone().unwrap_or_else(beside),
        settings: Settings {
            rules: Rules {
                allow_http: given.allow_http,
                allow_private: given.allow_private,
                allow_hosts: given.allow_hosts.clone(),
                ports: given.ports.clone(),
            },
            ca_file: given.ca_file.clone(),
            under_way_max: files::webhooks_within(files),
            ..Settings::default()
        },
    }
}

/// As many connections as are asked for, if the system lets the process open so many files.
fn connections_max(config: &Config, webhooks: &WebhookConfig, files: Option<u64>) -> usize {
    let wanted = config.limits.connections_max;
    // Each may keep another connection open for the next one.
    let for_webhooks = 2 * webhooks.settings.under_way_max as u64;
    let left = files.map(|files| files.saturating_sub(for_webhooks));
    let within = files::connections_within(wanted, left);
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

fn start_log(log: &config::Log, demo: bool) -> anyhow::Result<()> {
    // A line per request would bury what the demo says.
    let level = if demo && log.level == "info" {
        "warn"
    } else {
        &log.level
    };
    let level: tracing::Level = level.parse().map_err(|_| wrong_use("log.level is wrong"))?;
    let builder = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match log.format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

/// A file for a secret: readable by the owner only, and there whole or not at all.
struct SecretFile<'a> {
    path: &'a Path,
    unfinished: PathBuf,
    file: File,
}

impl SecretFile<'_> {
    /// Makes sure that a secret can be kept there, before there is one.
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

    fn keep(mut self, secret: &str) -> anyhow::Result<()> {
        writeln!(self.file, "{secret}")?;
        self.file.sync_all()?;
        std::fs::rename(&self.unfinished, self.path)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}
