//! Streams as they look from outside.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use tributary_engine::{IdKind, Reader};
use tributary_ledger::Setting;
use utoipa::ToSchema;
use utoipa::openapi::schema::Object;

use crate::form::stream::{ActForm, PublishForm};
use crate::schema::one_of;
use crate::streaming::{
    BoundsForm, FieldType, Preview, SourceForm, StartForm, StreamFigures, StreamRow, StreamState,
    StreamTerms, TimeForm, WindowForm,
};
use crate::time::{format_time_ns, format_timestamp};

fn stream_states() -> Object {
    one_of(["active", "paused"])
}

fn work_states() -> Object {
    one_of(StreamState::ALL.map(StreamState::as_str))
}

/// Figures over windows of events, by key.
#[derive(Serialize, ToSchema)]
#[schema(as = Stream)]
pub struct StreamObject {
    id: String,
    #[schema(pattern = "^stream$")]
    object: &'static str,
    /// Name for tools, unique among the streams.
    slug: String,
    /// Name of the file or tool that manages the stream.
    #[schema(required)]
    managed_by: Option<String>,
    /// Number of this revision, from 1.
    revision: u64,
    /// Number of the definition, from 1: one more with each change of what is computed or published.
    version: u64,
    #[schema(schema_with = stream_states)]
    status: &'static str,
    #[schema(required)]
    paused_reason: Option<String>,
    from: Vec<SourceForm>,
    data: BTreeMap<String, FieldType>,
    key: Vec<String>,
    /// The event's own time; null for the time of its record.
    #[schema(required)]
    time: Option<TimeForm>,
    window: WindowForm,
    emit: BTreeMap<String, String>,
    #[schema(required)]
    having: Option<String>,
    #[schema(required)]
    publish: Option<PublishForm>,
    /// What is done for each result.
    #[schema(required)]
    act: Option<ActForm>,
    start: StartForm,
    bounds: BoundsForm,
    #[schema(format = DateTime)]
    created: String,
    /// When this revision was made.
    #[schema(format = DateTime)]
    updated: String,
}

/// Returns the stream that a setting defines.
pub fn stream(reader: &Reader, setting: &Setting, terms: StreamTerms) -> StreamObject {
    let ids = reader.ids();
    StreamObject {
        id: ids.encode_setting(setting.kind, setting.id),
        object: "stream",
        slug: setting.slug.to_string(),
        managed_by: setting.managed_by.as_ref().map(ToString::to_string),
        revision: setting.revision,
        version: terms.version,
        status: match terms.paused {
            None => "active",
            Some(_) => "paused",
        },
        paused_reason: terms.paused,
        from: terms.from,
        data: terms.data,
        key: terms.key,
        time: terms.time,
        window: terms.window,
        emit: terms.emit,
        having: terms.having,
        publish: terms.publish.map(|publish| PublishForm {
            event: publish.event,
            acts_as: ids.encode(IdKind::ApiKey, publish.acts_as.0),
        }),
        act: terms.act.map(|act| {
            let acts_as = ids.encode(IdKind::ApiKey, act.acts_as.0);
            ActForm::new(act.action, acts_as)
        }),
        start: terms.start,
        bounds: terms.bounds,
        created: format_timestamp(setting.created.timestamp),
        updated: format_timestamp(setting.changed.timestamp),
    }
}

/// How far a stream is on this server, and what it holds.
#[derive(Serialize, ToSchema)]
#[schema(as = StreamFigures)]
pub struct StreamFiguresObject {
    #[schema(pattern = "^stream_figures$")]
    object: &'static str,
    /// `running`: it is at the end of the journal. `catching_up`: it reads what was recorded before. `stopped`: it reached a bound, or
    /// met what it can't compute; another definition or another bound lets it go on.
    #[schema(schema_with = work_states)]
    state: &'static str,
    /// Why it stopped, is paused, or does not publish or act.
    #[schema(required)]
    why: Option<String>,
    /// Version whose rows are shown.
    version: u64,
    /// Version that is computed from the journal beside that one; null if there is none.
    #[schema(required)]
    next_version: Option<u64>,
    /// Records of the journal that are not taken yet. Of the next version, if there is one.
    lag: u64,
    /// Of event time: up to when no more events are expected. Null before the first event.
    #[schema(required, format = DateTime)]
    watermark: Option<String>,
    /// Results that became final.
    results: u64,
    /// Events that came too late to be counted.
    late_events: u64,
    /// Results that are yet to be published or acted upon.
    waiting: u64,
    /// Results for which what the stream does was done.
    acted: u64,
    /// Results that were refused: to be published, or what was to be done for them.
    refused: u64,
    /// Why one was refused last, since this server started.
    #[schema(required)]
    last_refusal: Option<String>,
    /// Keys that have a window.
    keys: u64,
    open_windows: u64,
    state_bytes: u64,
}

/// Returns the figures of a stream.
pub fn stream_figures(figures: StreamFigures) -> StreamFiguresObject {
    let reached = figures
        .next
        .map_or(figures.position, |(_, position)| position);
    StreamFiguresObject {
        object: "stream_figures",
        state: figures.state.as_str(),
        why: figures.why,
        version: figures.version,
        next_version: figures.next.map(|(version, _)| version),
        lag: figures.head.saturating_sub(reached),
        watermark: figures.watermark_ms.map(|milliseconds| {
            let nanos = i128::from(milliseconds) * 1_000_000;
            format_time_ns(nanos)
        }),
        results: figures.results,
        late_events: figures.late_events,
        waiting: figures.waiting,
        acted: figures.acted,
        refused: figures.refused,
        last_refusal: figures.last_refusal,
        keys: figures.usage.keys,
        open_windows: figures.usage.open_windows,
        state_bytes: figures.usage.state_bytes,
    }
}

/// Figures of one window of one key.
#[derive(Serialize, ToSchema)]
#[schema(as = StreamRow)]
pub struct StreamRowObject {
    #[schema(pattern = "^stream_row$")]
    object: &'static str,
    /// Version of the stream that computed it.
    version: u64,
    /// Values of the key, by field.
    key: Map<String, Value>,
    #[schema(format = DateTime)]
    window_start: String,
    #[schema(format = DateTime)]
    window_end: String,
    /// Number of results of the same key and window end before: above 0 only for trailing windows at equal times.
    revision: u32,
    /// Values of the aggregates, by name; null for an aggregate of nothing.
    values: Map<String, Value>,
}

/// Returns a row of a stream.
pub fn stream_row(row: StreamRow) -> StreamRowObject {
    StreamRowObject {
        object: "stream_row",
        version: row.version,
        key: row.key,
        window_start: format_time_ns(i128::from(row.window_start)),
        window_end: format_time_ns(i128::from(row.window_end)),
        revision: row.revision,
        values: row.values,
    }
}

/// What a stream would show.
#[derive(Serialize, ToSchema)]
#[schema(as = StreamPreview)]
pub struct StreamPreviewObject {
    #[schema(pattern = "^stream_preview$")]
    object: &'static str,
    /// Number of records that were read.
    records: u64,
    /// Events that were counted.
    events: u64,
    /// Results that became final.
    results: u64,
    /// The newest of them, the newest first: at most 100.
    rows: Vec<StreamRowObject>,
    /// Figures of the windows that are open at the end: at most 100.
    open_rows: Vec<StreamRowObject>,
    /// Events that came too late to be counted.
    late_events: u64,
    /// Why the stream stopped, if it did.
    #[schema(required)]
    stopped: Option<String>,
}

/// Returns what a stream would show.
pub fn stream_preview(preview: Preview) -> StreamPreviewObject {
    let rows = |rows: Vec<StreamRow>| rows.into_iter().map(stream_row).collect();
    StreamPreviewObject {
        object: "stream_preview",
        records: match preview.first {
            0 => 0,
            first => preview.last + 1 - first,
        },
        events: preview.events,
        results: preview.results,
        rows: rows(preview.rows),
        open_rows: rows(preview.open_rows),
        late_events: preview.late_events,
        stopped: preview.stopped,
    }
}
