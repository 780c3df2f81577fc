//! `apply`: settings as a file says, through a running server or at the start of one.

use std::path::Path;

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use crate::cli;
use crate::config::read_secret;
use crate::exit::{Exit, usage_error};
use crate::terminal::print_line;

/// Where files are applied.
const APPLY: &str = "/v1/settings/apply";

/// Runs `apply`.
pub(crate) fn apply(arguments: &cli::Apply) -> anyhow::Result<Exit> {
    let mut file = read_file(&arguments.file)?;
    add_options(&mut file.request, &arguments.prune);
    let mut client = arguments.server.client()?;
    file.request["dry_run"] = Value::Bool(true);
    let plan = send(&mut client, &file)?;
    if arguments.dry_run {
        show(&plan, arguments.json);
        return Ok(Exit::Done);
    }
    if !arguments.json {
        show(&plan, false);
    }
    if is_needed(&plan) {
        file.request["dry_run"] = Value::Bool(false);
        let done = send(&mut client, &file)?;
        match arguments.json {
            true => show(&done, true),
            false => show_done(&done),
        }
    } else if arguments.json {
        show(&plan, true);
    } else {
        print_line("nothing to do: no setting is changed");
    }
    Ok(Exit::Done)
}

/// A file of settings that was read.
pub(crate) struct SettingsFile {
    /// Path of the file, for messages.
    pub(crate) path: String,
    /// Request that applies the file.
    pub(crate) request: Value,
    /// Place of each setting in the file, such as "[[subscription]] 2 (orders)", in the order of the request.
    entries: Vec<String>,
}

impl SettingsFile {
    /// Returns the place in the file that a parameter of the request came from: `settings[1].events` is
    /// "shop.toml: [[subscription]] 2 (orders): events".
    pub(crate) fn place(&self, parameter: Option<&str>) -> String {
        let path = &self.path;
        let Some(parameter) = parameter else {
            return path.clone();
        };
        let entry = parameter
            .strip_prefix("settings[")
            .and_then(|rest| rest.split_once(']'))
            .and_then(|(at, field)| Some((self.entries.get(at.parse::<usize>().ok()?)?, field)));
        match entry {
            None => format!("{path}: {parameter}"),
            Some((entry, "")) => format!("{path}: {entry}"),
            Some((entry, field)) => format!("{path}: {entry}: {}", field.trim_start_matches('.')),
        }
    }
}

/// Returns the stream with a slug in a file of settings, as a request would make it.
pub(crate) fn read_stream(path: &Path, slug: &str) -> anyhow::Result<Value> {
    let file = read_file(path)?;
    let settings = file.request["settings"].as_array();
    let streams = settings.into_iter().flatten();
    let streams: Vec<&Value> = streams
        .filter(|setting| setting["kind"] == "stream")
        .collect();
    let found = streams.iter().find(|stream| stream["slug"] == slug);
    found.copied().cloned().ok_or_else(|| {
        let known = streams.iter().map(|stream| stream["slug"].to_string());
        let known: Vec<String> = known.collect();
        usage_error(match known.is_empty() {
            true => format!("{} has no [[stream]]", file.path),
            false => format!(
                "{} has no stream `{slug}`, but {}",
                file.path,
                known.join(", ")
            ),
        })
    })
}

/// Reads the file for `serve --apply`. A wrong file ends the start before the server listens.
pub(crate) fn read_for_serve(path: &Path, prune: &cli::Prune) -> anyhow::Result<SettingsFile> {
    let mut file = read_file(path)?;
    add_options(&mut file.request, prune);
    Ok(file)
}

/// What a start says of the file that it applied.
pub(crate) fn summary(done: &Value) -> String {
    let name = done["managed_by"].as_str().unwrap_or("the file");
    if done["skipped"] == true {
        return format!("{name}: a later generation was applied before; nothing is changed");
    }
    format!(
        "{name}: {} created, {} changed, {} deleted, {} as they were",
        done["created"], done["changed"], done["deleted"], done["kept"]
    )
}

fn add_options(request: &mut Value, prune: &cli::Prune) {
    request["prune"] = Value::Bool(prune.prune);
    if let Some(most) = prune.prune_max {
        request["prune_max"] = json!(most);
    }
}

/// Whether a plan leaves something to do; a file with a generation has that to be remembered.
fn is_needed(plan: &Value) -> bool {
    let changes = ["created", "changed", "deleted"]
        .iter()
        .any(|count| plan[count] != 0);
    changes || (plan["skipped"] == false && !plan["generation"].is_null())
}

fn send(client: &mut crate::client::Client, file: &SettingsFile) -> anyhow::Result<Value> {
    // Sent again, it finds nothing to do.
    let answer = client.post_with_retry(APPLY, file.request.to_string().into_bytes())?;
    let param = answer
        .json()
        .ok()
        .and_then(|error| Some(error["error"]["param"].as_str()?.to_owned()));
    let status = answer.status;
    match (answer.require_success(), param) {
        (Ok(answer), _) => answer.json(),
        // The file is wrong: trying again cannot help.
        (Err(error), param) if (400..500).contains(&status) && status != 429 => {
            let place = file.place(param.as_deref());
            Err(usage_error(format!("{place}: {error:#}")))
        }
        (Err(error), _) => Err(error),
    }
}

/// Reads a file of settings, TOML or JSON, as the request that applies it.
fn read_file(path: &Path) -> anyhow::Result<SettingsFile> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let is_json = path
        .extension()
        .is_some_and(|extension| extension == "json");
    let table: Map<String, Value> = match is_json {
        true => {
            serde_json::from_str(&text).map_err(|error| usage_error(format!("{shown}: {error}")))
        }
        false => toml::from_str(&text).map_err(|error| usage_error(format!("{shown}: {error}"))),
    }?;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let mut request = Map::new();
    let (mut settings, mut entries) = (Vec::new(), Vec::new());
    // What others name comes before them, wherever it stands in the file.
    let mut table: Vec<(String, Value)> = table.into_iter().collect();
    table.sort_by_cached_key(|(name, _)| {
        let named = ["binder", "binding"].iter().position(|kind| kind == name);
        (named.unwrap_or(usize::MAX), name.clone())
    });
    for (name, value) in table {
        match (name.as_str(), value) {
            ("managed_by" | "generation", value) => {
                request.insert(name, value);
            }
            (kind, Value::Array(definitions)) => {
                for (at, definition) in definitions.into_iter().enumerate() {
                    let entry = entry_name(kind, at + 1, &definition);
                    let read = read_definition(kind, definition, folder);
                    settings.push(read.with_context(|| format!("{shown}: {entry}"))?);
                    entries.push(entry);
                }
            }
            (name, _) => {
                return Err(usage_error(format!(
                    "{shown}: {name} must be a list of settings, such as [[{name}]]"
                )));
            }
        }
    }
    request.insert("settings".to_owned(), Value::Array(settings));
    Ok(SettingsFile {
        path: shown.to_string(),
        request: Value::Object(request),
        entries,
    })
}

/// Returns the place of a setting in its file: "[[subscription]] 2 (orders)", counted from 1.
fn entry_name(kind: &str, number: usize, definition: &Value) -> String {
    match definition["slug"].as_str() {
        Some(slug) => format!("[[{kind}]] {number} ({slug})"),
        None => format!("[[{kind}]] {number}"),
    }
}

/// Fields that a definition leaves to files of their own.
const SECRETS: [&str; 2] = ["secret", "password"];

/// Field of a model that names its file, and has the content in the request.
const MODEL_FILE: &str = "file";

/// One definition, with the secrets and the content that it leaves to files.
fn read_definition(kind: &str, definition: Value, folder: &Path) -> anyhow::Result<Value> {
    let Value::Object(mut definition) = definition else {
        return Err(usage_error(
            "a setting must be a table of fields".to_owned(),
        ));
    };
    for name in SECRETS {
        let named = format!("{name}_file");
        if definition.contains_key(name) {
            return Err(usage_error(format!(
                "{name} must not stand in the file: name a file of its own with {named}"
            )));
        }
        if let Some(file) = definition.remove(&named) {
            let file = file
                .as_str()
                .ok_or_else(|| usage_error(format!("{named} must be the path of a file")))?;
            // Relative to the file that names it.
            let secret = read_secret(&folder.join(file))?;
            definition.insert(name.to_owned(), Value::String(secret));
        }
    }
    if kind == "model"
        && let Some(file) = definition.get_mut(MODEL_FILE)
    {
        let named = file.as_str().map(|file| folder.join(file));
        let path =
            named.ok_or_else(|| usage_error("file must be the path of a file".to_owned()))?;
        let content = std::fs::read(&path)
            .with_context(|| format!("cannot read the model in {}", path.display()))?;
        let content = String::from_utf8(content).map_err(|_| {
            usage_error(format!(
                "{} is binary: save the model as JSON (XGBoost) or text (LightGBM)",
                path.display()
            ))
        })?;
        *file = Value::String(content);
    }
    definition.insert("kind".to_owned(), Value::String(kind.to_owned()));
    Ok(Value::Object(definition))
}

fn show(plan: &Value, as_json: bool) {
    if as_json {
        return print_line(&plan.to_string());
    }
    if plan["skipped"] == true {
        return print_line(
            "A later generation of this file was applied before: nothing is to be done.",
        );
    }
    for setting in plan["settings"].as_array().into_iter().flatten() {
        let text = |name: &str| setting[name].as_str().unwrap_or_default().to_owned();
        let fields: Vec<&str> = setting["fields"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let fields = match fields.is_empty() {
            true => String::new(),
            false => format!("  ({})", fields.join(", ")),
        };
        let (action, kind, slug) = (text("action"), text("kind"), text("slug"));
        print_line(&format!("{action:6}  {kind} {slug}{fields}"));
    }
    print_line(&format!(
        "{} to create, {} to change, {} to delete, {} as they are",
        plan["created"], plan["changed"], plan["deleted"], plan["kept"]
    ));
}

fn show_done(done: &Value) {
    for setting in done["settings"].as_array().into_iter().flatten() {
        if let (Some(slug), Some(secret)) = (setting["slug"].as_str(), setting["secret"].as_str()) {
            print_line(&format!("secret of {slug} (shown only now): {secret}"));
        }
    }
    print_line(&format!(
        "done: {} created, {} changed, {} deleted",
        done["created"], done["changed"], done["deleted"]
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> anyhow::Result<Value> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("key"), "whsec_abc\n").expect("it is written");
        std::fs::write(folder.path().join("binary"), [0xff]).expect("it is written");
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("it is written");
        read_file(&path).map(|file| file.request)
    }

    #[test]
    fn a_parameter_of_the_request_is_told_as_a_place_in_the_file() {
        let file = SettingsFile {
            path: "shop.toml".to_owned(),
            request: Value::Null,
            entries: vec![
                entry_name("rule", 1, &json!({})),
                entry_name("subscription", 1, &json!({"slug": "orders"})),
            ],
        };
        for (parameter, place) in [
            (None, "shop.toml"),
            (Some("managed_by"), "shop.toml: managed_by"),
            (Some("settings[0].kind"), "shop.toml: [[rule]] 1: kind"),
            (
                Some("settings[1]"),
                "shop.toml: [[subscription]] 1 (orders)",
            ),
            (
                Some("settings[1].retry.delays[0]"),
                "shop.toml: [[subscription]] 1 (orders): retry.delays[0]",
            ),
            (Some("settings[2].events"), "shop.toml: settings[2].events"),
        ] {
            assert_eq!(file.place(parameter), place);
        }
    }

    #[test]
    fn toml_and_json_say_the_same() {
        let expected = json!({"managed_by": "deploy", "generation": 7, "settings": [
            {"kind": "binder", "slug": "main", "password": "whsec_abc"},
            {"kind": "subscription", "slug": "a", "events": ["#"], "secret": "whsec_abc"},
            {"kind": "subscription", "slug": "b", "events": []},
        ]});
        let toml = "managed_by = \"deploy\"\ngeneration = 7\n[[subscription]]\nslug = \"a\"\nevents = [\"#\"]\n\
                    secret_file = \"key\"\n[[subscription]]\nslug = \"b\"\nevents = []\n\
                    [[binder]]\nslug = \"main\"\npassword_file = \"key\"\n";
        assert_eq!(read("a.toml", toml).expect("a file"), expected);
        let json = r##"{"managed_by": "deploy", "generation": 7, "subscription": [
            {"slug": "a", "events": ["#"], "secret_file": "key"}, {"slug": "b", "events": []}],
            "binder": [{"slug": "main", "password_file": "key"}]}"##;
        assert_eq!(read("a.json", json).expect("a file"), expected);
    }

    #[test]
    fn the_file_of_a_model_is_read_as_it_is() {
        let read = read("a.toml", "[[model]]\nslug = \"m\"\nfile = \"key\"\n").expect("a file");
        let model = json!({"kind": "model", "slug": "m", "file": "whsec_abc\n"});
        assert_eq!(read["settings"], json!([model]));
    }

    #[test]
    fn a_wrong_file_is_refused_with_its_fault() {
        for (text, fault) in [
            ("x = 1", "x must be a list"),
            ("[[subscription]]\nsecret = \"x\"", "secret_file"),
            ("[[binder]]\npassword = \"x\"", "password_file"),
            (
                "[[subscription]]\nslug = \"a\"\nsecret_file = \"missing\"",
                "a.toml: [[subscription]] 1 (a): cannot read the secret in",
            ),
            ("[[subscription]]\nsecret_file = 1", "secret_file"),
            ("[[model]]\nfile = 1", "file must be the path"),
            ("[[model]]\nfile = \"missing\"", "cannot read the model in"),
            ("[[model]]\nfile = \"binary\"", "is binary"),
            ("subscription = [1]", "a table"),
            ("[[", "a.toml"),
        ] {
            let error = read("a.toml", text).expect_err("it is wrong");
            let said = format!("{error:#}");
            assert!(said.contains(fault), "{text}: {said}");
        }
    }
}
