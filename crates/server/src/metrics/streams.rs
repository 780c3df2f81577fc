//! Metrics of streams.

use prometheus_client::registry::Registry;
use tributary_api::streaming::{StreamFigures, StreamState};
use tributary_ledger::SettingKind;

use crate::app::Shared;
use crate::metrics::families::{Families, Labels};

/// Registers every stream. The label is its slug: there are no more of them than there may be streams.
pub(super) fn register_streams(registry: &mut Registry, shared: &Shared) {
    let states = read_states(shared);
    let mut families = Families { registry, states };
    families.register_standing();
    families.register_results();
    families.register_state();
}

fn read_states(shared: &Shared) -> Vec<(Labels, StreamFigures)> {
    let settings = shared
        .reader
        .settings(SettingKind::STREAM, None)
        .into_iter();
    let states = settings.filter_map(|setting| {
        let figures = shared.streaming.figures(setting.id)?;
        Some((vec![("stream", setting.slug.to_string())], figures))
    });
    states.collect()
}

impl Families<'_, StreamFigures> {
    fn register_standing(&mut self) {
        self.gauge(
            "tributary_stream_up",
            "1 while the stream takes events, also those of the past, else 0",
            |figures| {
                let up = [StreamState::Running, StreamState::CatchingUp];
                Some(u64::from(up.contains(&figures.state)))
            },
        );
        self.gauge(
            "tributary_stream_paused",
            "1 while somebody has paused the stream, else 0",
            |figures| Some(u64::from(figures.state == StreamState::Paused)),
        );
        self.gauge(
            "tributary_stream_lag_records",
            "Records of the journal that the stream has not taken yet",
            |figures| Some(figures.head.saturating_sub(figures.position)),
        );
    }

    fn register_results(&mut self) {
        self.counter(
            "tributary_stream_results_total",
            "Results that became final",
            |figures| Some(figures.results),
        );
        self.counter(
            "tributary_stream_late_events_total",
            "Events that came too late to be counted",
            |figures| Some(figures.late_events),
        );
        self.counter(
            "tributary_stream_acted_total",
            "Results for which what the stream does was done",
            |figures| Some(figures.acted),
        );
        self.counter(
            "tributary_stream_refused_total",
            "Results that were refused: to be published, or what was to be done for them",
            |figures| Some(figures.refused),
        );
        self.gauge(
            "tributary_stream_waiting",
            "Results that are yet to be published or acted upon",
            |figures| Some(figures.waiting),
        );
    }

    fn register_state(&mut self) {
        self.gauge(
            "tributary_stream_keys",
            "Keys that have a window",
            |figures| Some(figures.usage.keys),
        );
        self.gauge(
            "tributary_stream_open_windows",
            "Windows that are open",
            |figures| Some(figures.usage.open_windows),
        );
        self.gauge(
            "tributary_stream_state_bytes",
            "Bytes of the stream's state and of the final rows that it keeps",
            |figures| Some(figures.usage.state_bytes),
        );
    }
}
