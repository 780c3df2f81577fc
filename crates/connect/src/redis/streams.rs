//! The stream of a binding and that of its dead letters: whether they are there, whether they lose messages, and how they are made.

use redis::{Cmd, RedisError, Value};

use super::link::Link;
use crate::port::{Binding, Declare, Trouble, TroubleKind};

/// First version whose groups forget what was deleted from their stream.
const VERSION_MIN: u32 = 7;

/// Prepares the streams of a binding as `declare` says. `dead_letters` is the stream of its dead letters.
pub(super) async fn prepare(
    link: &Link,
    binding: &Binding,
    dead_letters: &str,
) -> Result<(), Trouble> {
    let Binding {
        destination, group, ..
    } = binding;
    match binding.declare {
        Declare::None => Ok(()),
        Declare::Create => {
            create(link, destination, group).await?;
            create(link, dead_letters, group).await
        }
        Declare::Check => {
            check_stream(link, destination).await?;
            check_group(link, destination, group).await?;
            check_stream(link, dead_letters).await?;
            check_server(link).await
        }
    }
}

/// Makes a stream with a group that reads it from its beginning.
async fn create(link: &Link, stream: &str, group: &str) -> Result<(), Trouble> {
    let mut command = redis::cmd("XGROUP");
    command
        .arg("CREATE")
        .arg(stream)
        .arg(group)
        .arg("0")
        .arg("MKSTREAM");
    match link.call(command).await {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some("BUSYGROUP") => Ok(()),
        Err(error) => {
            let what = format!("create the group {group} of the stream {stream}");
            Err(link.describe(&what, &error))
        }
    }
}

async fn check_stream(link: &Link, stream: &str) -> Result<(), Trouble> {
    let what = format!("look at the stream {stream}");
    let mut command = redis::cmd("TYPE");
    command.arg(stream);
    let kind = text(&link.ask(&what, command).await?);
    if kind == "none" {
        return Err(missing(link, stream));
    }
    let unfit = |why: &str| {
        let text = format!("{stream} at {} {why}", link.place());
        Err(Trouble::new(TroubleKind::DestinationUnfit, text))
    };
    if kind != "stream" {
        return unfit(&format!("is a {kind}, not a stream"));
    }
    let mut command = redis::cmd("PTTL");
    command.arg(stream);
    match link.ask(&what, command).await? {
        Value::Int(left) if left >= 0 => {
            unfit("expires: it loses all its messages then. PERSIST it")
        }
        _ => Ok(()),
    }
}

/// What is told when there is no such stream.
pub(super) fn missing(link: &Link, stream: &str) -> Trouble {
    let text = format!(
        "the stream {stream} does not exist at {}: create it, or set declare to create",
        link.place()
    );
    Trouble::new(TroubleKind::DestinationMissing, text)
}

async fn check_group(link: &Link, stream: &str, group: &str) -> Result<(), Trouble> {
    let what = format!("list the groups of {stream}");
    let groups = link.ask(&what, list_groups(stream)).await?;
    if find_group(&groups, group).is_some() {
        return Ok(());
    }
    let text = format!(
        "the stream {stream} at {} has no group {group}: create it with XGROUP CREATE {stream} {group} 0, which reads \
         from the beginning, or set declare to create",
        link.place()
    );
    Err(Trouble::new(TroubleKind::DestinationMissing, text))
}

/// Returns the number of entries that a group has never delivered; none if Redis lost count, because entries were deleted.
pub(super) async fn waiting(link: &Link, stream: &str, group: &str) -> Option<u64> {
    let groups = link.call(list_groups(stream)).await.ok()?;
    let mut parts = find_group(&groups, group)?.iter();
    while let Some(name) = parts.next() {
        let value = parts.next()?;
        if text(name) == "lag" {
            let Value::Int(lag) = value else {
                return None;
            };
            return u64::try_from(*lag).ok();
        }
    }
    None
}

fn list_groups(stream: &str) -> Cmd {
    let mut command = redis::cmd("XINFO");
    command.arg("GROUPS").arg(stream);
    command
}

/// Returns the names and values of what is known about a group.
fn find_group<'a>(groups: &'a Value, group: &str) -> Option<&'a [Value]> {
    let Value::Array(groups) = groups else {
        return None;
    };
    groups.iter().find_map(|found| match found {
        // The first value is the name.
        Value::Array(parts) if parts.get(1).is_some_and(|name| text(name) == group) => {
            Some(&parts[..])
        }
        _ => None,
    })
}

/// Fails if the server loses messages when it restarts or when its memory is full, or is too old. A user who may not ask can't see it.
async fn check_server(link: &Link) -> Result<(), Trouble> {
    let info = match link.call(redis::cmd("INFO")).await {
        Ok(info) => text(&info),
        Err(error) if is_refused(&error) => {
            tracing::info!(
                place = link.place(),
                "this user may not see how Redis persists"
            );
            return Ok(());
        }
        Err(error) => return Err(link.describe("show its settings", &error)),
    };
    match find_loss(&info) {
        None => Ok(()),
        Some(why) => {
            let text = format!("{} {why}", link.place());
            Err(Trouble::new(TroubleKind::DestinationUnfit, text))
        }
    }
}

pub(super) fn is_refused(error: &RedisError) -> bool {
    error.code() == Some("NOPERM")
}

/// Says how a server with this `INFO` loses messages.
fn find_loss(info: &str) -> Option<String> {
    let field = |name: &str| {
        let mut lines = info.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_default().trim().to_owned()
    };
    let version = field("redis_version");
    let major = version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok());
    if major.is_some_and(|major: u32| major < VERSION_MIN) {
        return Some(format!(
            "is of version {version}: use {VERSION_MIN} or later"
        ));
    }
    if field("aof_enabled") == "0" {
        let why =
            "keeps no append-only file: it loses messages when it restarts. Set appendonly to yes";
        return Some(why.to_owned());
    }
    let policy = field("maxmemory_policy");
    if policy.starts_with("allkeys") && field("maxmemory") != "0" {
        return Some(format!(
            "deletes streams when its memory is full (maxmemory-policy {policy}): set noeviction"
        ));
    }
    None
}

/// Returns a text that Redis answered.
fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::VerbatimString { text, .. } => text.clone(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::find_loss;

    #[test]
    fn a_server_that_loses_messages_is_known() {
        let info = |version: &str, aof: &str, maxmemory: &str, policy: &str| {
            format!(
                "# Server\r\nredis_version:{version}\r\n# Memory\r\nmaxmemory:{maxmemory}\r\nmaxmemory_human:0B\r\n\
                 maxmemory_policy:{policy}\r\n# Persistence\r\naof_enabled:{aof}\r\n"
            )
        };
        let fit = [
            info("7.0.15", "1", "0", "noeviction"),
            info("8.2.1", "1", "0", "allkeys-lru"),
            info("7.4.0", "1", "1000", "volatile-lru"),
            // Another server that speaks the protocol, and says less.
            "valkey_version:8.0\r\n".to_owned(),
        ];
        for info in fit {
            assert_eq!(find_loss(&info), None, "{info}");
        }
        let unfit = [
            (info("6.2.7", "1", "0", "noeviction"), "6.2.7"),
            (info("7.0.15", "0", "0", "noeviction"), "append-only"),
            (info("7.0.15", "1", "1000", "allkeys-lru"), "allkeys-lru"),
        ];
        for (info, why) in unfit {
            let found = find_loss(&info).expect(why);
            assert!(found.contains(why), "{found}");
        }
    }
}
