//! Slow subscriptions: whether they are looked for, and which the cores have found.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::ids::CoreId;
use crate::config::{SlowStats, SlowSubs as Configured};
use crate::control::context::Context;
use crate::control::cores::Unanswered;
use crate::control::state::StateError;
use crate::gate::manage::{Look, Manage};
use crate::gate::slow_subs::{SlowRow, SlowSettings, SlowSpan};

/// Under which name changed settings are kept.
const KEPT: &str = "slow_subs";

/// The settings in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Whether they are looked for.
    pub enable: bool,
    /// From so many milliseconds on a message is late.
    pub threshold_ms: u64,
    /// After so many milliseconds a subscription is forgotten.
    pub expire_ms: u64,
    /// How many are kept.
    pub most: u16,
    /// What is measured.
    pub stats: SlowStats,
}

impl Settings {
    /// As configured.
    pub fn new(configured: &Configured) -> Self {
        let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self {
            enable: configured.enable,
            threshold_ms: ms(configured.threshold),
            expire_ms: ms(configured.expire_interval),
            most: configured.top_k_num,
            stats: configured.stats_type,
        }
    }

    fn look(&self) -> Look {
        let settings = SlowSettings {
            threshold_ms: self.threshold_ms,
            most: usize::from(self.most),
            expire_ms: self.expire_ms,
            span: match self.stats {
                SlowStats::Whole => SlowSpan::Whole,
                SlowStats::Internal => SlowSpan::Internal,
                SlowStats::Response => SlowSpan::Response,
            },
        };
        Look::SlowSubs(self.enable.then_some(settings))
    }
}

/// What is known of them.
#[derive(Default)]
pub struct SlowSubs {
    /// What was set at run time; nothing if the configuration holds.
    changed: Mutex<Option<Settings>>,
    /// Held while settings change and cores are told.
    change: tokio::sync::Mutex<()>,
}

/// Why settings have not changed.
#[derive(Debug)]
pub enum ChangeError {
    /// They cannot be kept.
    State(StateError),
    /// A core does not answer.
    Unanswered(Unanswered),
}

/// The settings in force.
pub fn settings(context: &Context) -> Settings {
    let changed = &context.slow_subs.changed;
    let changed = *changed.lock().unwrap_or_else(PoisonError::into_inner);
    changed.unwrap_or_else(|| Settings::new(&context.config.observe.slow_subs))
}

fn put(context: &Context, settings: Settings) {
    let changed = &context.slow_subs.changed;
    *changed.lock().unwrap_or_else(PoisonError::into_inner) = Some(settings);
}

/// Looks for them from now on, if the settings say so.
///
/// # Errors
/// A core does not answer.
pub async fn start(context: &Arc<Context>) -> Result<(), Unanswered> {
    let kept = context.state.lenses.get(KEPT);
    // One of another version that cannot be read is none.
    if let Some(kept) = kept.and_then(|kept| serde_json::from_value(kept).ok()) {
        put(context, kept);
    }
    let settings = settings(context);
    match settings.enable {
        true => tell(context, &settings).await,
        false => Ok(()),
    }
}

/// Other settings hold from now on, and what was found is forgotten.
///
/// # Errors
/// They do not hold.
pub async fn change(context: &Context, settings: Settings) -> Result<(), ChangeError> {
    let _guard = context.slow_subs.change.lock().await;
    let kept = serde_json::to_value(settings).unwrap_or_default();
    let put_down = context.state.lenses.put(KEPT, kept);
    put_down.map_err(ChangeError::State)?;
    put(context, settings);
    let told = tell(context, &settings).await;
    told.map_err(ChangeError::Unanswered)
}

async fn tell(context: &Context, settings: &Settings) -> Result<(), Unanswered> {
    for core in 0..context.cores.count() {
        let at = settings.look();
        let step = |reply| Manage::Look { at, reply };
        context.cores.ask(CoreId(core), step).await?;
    }
    Ok(())
}

/// The slowest, the slowest first.
///
/// # Errors
/// A core does not answer.
pub async fn rows(context: &Context, forget: bool) -> Result<Vec<SlowRow>, Unanswered> {
    let mut all = Vec::new();
    for core in 0..context.cores.count() {
        let step = |reply| Manage::SlowSubs { forget, reply };
        all.extend(context.cores.ask(CoreId(core), step).await?);
    }
    all.sort_by(|a, b| {
        let slower = b.took_ms.cmp(&a.took_ms);
        slower.then_with(|| (&a.client_id, &a.topic).cmp(&(&b.client_id, &b.topic)))
    });
    all.truncate(usize::from(settings(context).most));
    Ok(all)
}
