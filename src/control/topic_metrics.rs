//! Figures of chosen topics: which are chosen, how fast they grow, when they were set to 0.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::base::ids::CoreId;
use crate::control::clock;
use crate::control::context::Context;
use crate::control::cores::Unanswered;
use crate::control::state::StateError;
use crate::gate::manage::{Look, Manage};
use crate::gate::topic_counts::{TOPIC_FIGURES, TopicCounts, TopicTable};

/// Over how long a rate is taken.
const RATE_OVER: Duration = Duration::from_secs(5);
/// EMQX's names, in the order of [`TopicCounts::sum`], and those that add up several.
const NAMES: [&str; TOPIC_FIGURES] = [
    "messages.qos0.in",
    "messages.qos1.in",
    "messages.qos2.in",
    "messages.qos0.out",
    "messages.qos1.out",
    "messages.qos2.out",
    "messages.dropped",
];

/// Figures at one moment.
type Sums = [u64; TOPIC_FIGURES];

/// The chosen topics.
#[derive(Default)]
pub struct TopicMetrics {
    topics: Mutex<BTreeMap<String, Chosen>>,
    /// Held while the choice changes and cores are told.
    change: tokio::sync::Mutex<()>,
}

/// One topic.
struct Chosen {
    created_s: u64,
    reset_s: Option<u64>,
    counts: Arc<TopicCounts>,
    /// What was counted when it was set to 0.
    base: Sums,
    sampled: (Instant, Sums),
    rates: [f64; TOPIC_FIGURES],
}

/// The figures of a topic, for the API.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicRow {
    /// The topic.
    pub topic: String,
    /// Since when it is counted, UNIX time in seconds.
    pub created_s: u64,
    /// When it was set to 0, UNIX time in seconds.
    pub reset_s: Option<u64>,
    /// Figures by EMQX's names.
    pub metrics: Map<String, Value>,
}

/// Why a topic is not chosen.
#[derive(Debug)]
pub enum ChoiceError {
    /// It is chosen already.
    Exists,
    /// The change cannot be kept, or there are as many as there may be.
    State(StateError),
    /// A core does not answer.
    Unanswered(Unanswered),
}

impl From<StateError> for ChoiceError {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

impl From<Unanswered> for ChoiceError {
    fn from(error: Unanswered) -> Self {
        Self::Unanswered(error)
    }
}

impl Chosen {
    fn new(created_s: u64, cores: u8) -> Self {
        Self {
            created_s,
            reset_s: None,
            counts: Arc::new(TopicCounts::new(cores)),
            base: [0; TOPIC_FIGURES],
            sampled: (Instant::now(), [0; TOPIC_FIGURES]),
            rates: [0.0; TOPIC_FIGURES],
        }
    }

    fn sums(&self) -> Sums {
        let sum = self.counts.sum();
        std::array::from_fn(|at| sum[at].wrapping_sub(self.base[at]))
    }

    fn sample(&mut self, now: Instant) {
        let sums = self.sums();
        let passed_s = now.duration_since(self.sampled.0).as_secs_f64();
        if passed_s > 0.0 {
            let grown = |at: usize| sums[at].saturating_sub(self.sampled.1[at]) as f64;
            self.rates = std::array::from_fn(|at| grown(at) / passed_s);
        }
        self.sampled = (now, sums);
    }

    fn reset(&mut self, now_s: u64) {
        self.base = self.counts.sum();
        self.reset_s = Some(now_s);
        self.sampled = (Instant::now(), [0; TOPIC_FIGURES]);
        self.rates = [0.0; TOPIC_FIGURES];
    }

    fn row(&self, topic: &str) -> TopicRow {
        let (sums, rates) = (self.sums(), self.rates);
        let mut metrics = Map::new();
        let mut put = |name: &str, count: u64, rate: f64| {
            metrics.insert(format!("{name}.count"), count.into());
            let rounded = (rate * 100.0).round() / 100.0;
            metrics.insert(format!("{name}.rate"), rounded.into());
        };
        for (at, name) in NAMES.iter().enumerate() {
            put(name, sums[at], rates[at]);
        }
        for (name, of) in [("messages.in", 0..3), ("messages.out", 3..6)] {
            let count = sums[of.clone()].iter().sum();
            put(name, count, rates[of].iter().sum());
        }
        TopicRow {
            topic: topic.to_owned(),
            created_s: self.created_s,
            reset_s: self.reset_s,
            metrics,
        }
    }
}

impl TopicMetrics {
    fn topics(&self) -> MutexGuard<'_, BTreeMap<String, Chosen>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All topics.
    pub fn rows(&self) -> Vec<TopicRow> {
        let topics = self.topics();
        topics.iter().map(|(topic, one)| one.row(topic)).collect()
    }

    /// One topic, if it is chosen.
    pub fn row(&self, topic: &str) -> Option<TopicRow> {
        self.topics().get(topic).map(|one| one.row(topic))
    }

    /// Sets one topic to 0, or all; says whether there was one.
    pub fn reset(&self, topic: Option<&str>) -> bool {
        let now_s = clock::unix_s();
        let mut topics = self.topics();
        let meant = topics
            .iter_mut()
            .filter(|(name, _)| topic.is_none_or(|topic| topic == name.as_str()));
        let mut any = topic.is_none();
        for (_, one) in meant {
            one.reset(now_s);
            any = true;
        }
        any
    }

    fn sample(&self) {
        let now = Instant::now();
        self.topics().values_mut().for_each(|one| one.sample(now));
    }

    fn table(&self) -> Option<Arc<TopicTable>> {
        let topics = self.topics();
        let all = topics
            .iter()
            .map(|(topic, one)| (topic.as_str().into(), Arc::clone(&one.counts)));
        (!topics.is_empty()).then(|| Arc::new(TopicTable::new(all)))
    }
}

/// Counts the topics that were kept, from now on. Call it within the runtime.
///
/// # Errors
/// A core does not answer.
pub async fn start(context: &Arc<Context>) -> Result<(), Unanswered> {
    let cores = context.cores.count();
    for (topic, created_s) in context.state.topic_metrics.all() {
        let one = Chosen::new(created_s, cores);
        context.topic_metrics.topics().insert(topic, one);
    }
    if !context.state.topic_metrics.is_empty() {
        tell(context).await?;
    }
    let context = Arc::clone(context);
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(RATE_OVER);
        loop {
            tick.tick().await;
            context.topic_metrics.sample();
        }
    });
    Ok(())
}

async fn tell(context: &Context) -> Result<(), Unanswered> {
    let table = context.topic_metrics.table();
    for core in 0..context.cores.count() {
        let at = Look::Topics(table.clone());
        let step = |reply| Manage::Look { at, reply };
        context.cores.ask(CoreId(core), step).await?;
    }
    Ok(())
}

/// Counts a topic from now on.
///
/// # Errors
/// Why it is not.
pub async fn choose(context: &Context, topic: &str) -> Result<(), ChoiceError> {
    let _guard = context.topic_metrics.change.lock().await;
    if context.topic_metrics.topics().contains_key(topic) {
        return Err(ChoiceError::Exists);
    }
    let now_s = clock::unix_s();
    context.state.topic_metrics.put(topic, now_s)?;
    let one = Chosen::new(now_s, context.cores.count());
    context.topic_metrics.topics().insert(topic.to_owned(), one);
    Ok(tell(context).await?)
}

/// Counts a topic no more, or none; says whether there was one.
///
/// # Errors
/// The change cannot be kept, or a core does not answer.
pub async fn forget(context: &Context, topic: Option<&str>) -> Result<bool, ChoiceError> {
    let _guard = context.topic_metrics.change.lock().await;
    let removed = match topic {
        Some(topic) => {
            let there = context.state.topic_metrics.remove(topic)?.is_some();
            context.topic_metrics.topics().remove(topic);
            there
        }
        None => {
            context.state.topic_metrics.clear()?;
            context.topic_metrics.topics().clear();
            true
        }
    };
    if removed {
        tell(context).await?;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::topic_counts::TopicFigure;
    use crate::mqtt::qos::QoS;

    #[test]
    fn counts_rates_and_the_setting_to_nothing() {
        let mut one = Chosen::new(5, 1);
        let begun = one.sampled.0;
        for _ in 0..10 {
            one.counts.inc(CoreId(0), TopicFigure::In(QoS::AtMostOnce));
            one.counts.inc(CoreId(0), TopicFigure::In(QoS::AtLeastOnce));
        }
        one.sample(begun + Duration::from_secs(4));
        let row = one.row("t");
        assert_eq!(row.metrics["messages.in.count"], 20);
        assert_eq!(row.metrics["messages.in.rate"], 5.0);
        assert_eq!(row.metrics["messages.qos1.in.count"], 10);
        assert_eq!(row.metrics["messages.qos1.in.rate"], 2.5);
        assert_eq!(row.metrics["messages.out.count"], 0);
        assert_eq!(row.metrics.len(), 18);
        one.reset(9);
        one.counts.inc(CoreId(0), TopicFigure::Dropped);
        let row = one.row("t");
        assert_eq!((row.created_s, row.reset_s), (5, Some(9)));
        assert_eq!(row.metrics["messages.in.count"], 0);
        assert_eq!(row.metrics["messages.dropped.count"], 1);
        assert_eq!(row.metrics["messages.in.rate"], 0.0);
    }
}
