//! `keys`: creates a platform key after the last one was lost.

use serde_json::json;

use crate::cli;
use crate::exit::{Exit, usage_error};
use crate::store::Store;
use crate::terminal::print_line;

/// Runs `keys`.
pub(crate) fn keys(arguments: &cli::Keys) -> anyhow::Result<Exit> {
    if !arguments.data.join("meta").exists() {
        return Err(usage_error(format!(
            "there is no data directory at {}",
            arguments.data.display()
        )));
    }
    let store = Store::open_dir(&arguments.data)?;
    let key = store.create_platform_key(&arguments.label);
    store.shutdown();
    let key = key?;
    if arguments.json {
        print_line(&json!({ "platform_key": key }).to_string());
    } else {
        print_line(&format!("platform key (shown only now): {key}"));
    }
    Ok(Exit::Done)
}
