//! `risk verify`: computes every recorded assessment of a payment again.

use indicatif::ProgressBar;
use tributary_api::risk::Verified;

use crate::cli::{self, RiskCommand};
use crate::exit::{Exit, usage_error};
use crate::store::Store;
use crate::terminal::print_line;

/// Runs `risk`.
pub(crate) fn risk(command: &RiskCommand) -> anyhow::Result<Exit> {
    match command {
        RiskCommand::Verify(arguments) => verify(arguments),
    }
}

fn verify(arguments: &cli::RiskVerify) -> anyhow::Result<Exit> {
    if !arguments.data.join("meta").exists() {
        return Err(usage_error(format!(
            "there is no data directory at {}",
            arguments.data.display()
        )));
    }
    let store = Store::open_dir(&arguments.data)?;
    let bar = ProgressBar::new_spinner();
    let verified = store.streams.rules().verify(&mut |position| {
        bar.set_message(format!("record {position}"));
        bar.tick();
    });
    bar.finish_and_clear();
    store.shutdown();
    let verified = verified?;
    match arguments.json {
        true => print_line(&serde_json::to_string(&verified)?),
        false => print_line(&described(&verified)),
    }
    Ok(match verified.different {
        0 => Exit::Done,
        _ => Exit::NotVerified,
    })
}

fn described(verified: &Verified) -> String {
    let Verified {
        records,
        same,
        not_comparable,
        different,
        differences,
    } = verified;
    let mut text = format!(
        "{records} records: {same} assessments are the same again, {different} differ, {not_comparable} can't be computed again"
    );
    for (position, what) in differences {
        text.push_str(&format!("\nrecord {position}: {what}"));
    }
    text
}
