//! The webhook: events of clients and messages as HTTP POSTs, with EMQX 4's bodies.
//!
//! What cores tell is put into queues, one a connection, chosen by the client's id so that its events
//! keep their order. Nobody waits for the service: a full queue drops and counts.

mod body;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::config::{Ssl, Webhook as Settings, WebhookAction, WebhookRule};
use crate::control::alarms;
use crate::control::authn::HttpClient;
use crate::control::context::Context;
use crate::gate::observe::{Kinds, Seen, SeenWhat, Watch};
use crate::mqtt::topic::topic_matches;

/// Pause before the first repetition; it doubles each time.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// The longest pause.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);
/// The alarm while the service does not answer as it should.
pub const ALARM: &str = "webhook_down";

/// The way to the service.
pub struct Webhook {
    rules: Vec<WebhookRule>,
    settings: Settings,
    queues: Vec<mpsc::Sender<String>>,
    figures: Arc<Figures>,
}

/// What became of events.
#[derive(Default)]
pub struct Figures {
    /// Taken by the service.
    pub sent: AtomicU64,
    /// Given up after all repetitions.
    pub failed: AtomicU64,
    /// Dropped because a queue was full.
    pub dropped: AtomicU64,
    /// Bytes that wait.
    bytes: AtomicUsize,
}

/// What one connection needs.
struct Sender {
    context: Arc<Context>,
    client: HttpClient,
    url: String,
    headers: HeaderMap,
    figures: Arc<Figures>,
}

impl Webhook {
    /// Starts to send, if the configuration says so.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn start(handle: &Handle, context: &Arc<Context>) -> Result<Option<Self>, String> {
        let settings = context.config.observe.webhook.clone();
        let (true, Some(url)) = (settings.enable, settings.url.clone()) else {
            return Ok(None);
        };
        let ssl = Ssl {
            enable: None,
            cacertfile: settings
                .cacertfile
                .as_ref()
                .map(|path| path.display().to_string()),
            verify: None,
        };
        let figures = Arc::clone(&context.webhook);
        let mut queues = Vec::new();
        let each = (settings.max_buffer_events / usize::from(settings.pool_size)).max(1);
        for _ in 0..settings.pool_size {
            let (queue, waiting) = mpsc::channel(each);
            queues.push(queue);
            let client = HttpClient::new(settings.connect_timeout, 1, &ssl)
                .map_err(|error| format!("webhook: {error}"))?;
            let sender = Sender {
                context: Arc::clone(context),
                client,
                url: url.clone(),
                headers: headers(&settings)?,
                figures: Arc::clone(&figures),
            };
            handle.spawn(sender.run(waiting, settings.clone()));
        }
        Ok(Some(Self {
            rules: context.config.observe.webhook_rules.clone(),
            settings,
            queues,
            figures,
        }))
    }

    /// What cores are to tell for it.
    pub fn watch(&self, watch: &mut Watch) {
        for rule in &self.rules {
            let kind = match rule.action {
                WebhookAction::ClientConnect
                | WebhookAction::ClientConnack
                | WebhookAction::ClientConnected => Kinds::CONNECTED,
                WebhookAction::ClientDisconnected => Kinds::DISCONNECTED,
                WebhookAction::ClientSubscribe | WebhookAction::SessionSubscribed => {
                    Kinds::SUBSCRIBED
                }
                WebhookAction::ClientUnsubscribe | WebhookAction::SessionUnsubscribed => {
                    Kinds::UNSUBSCRIBED
                }
                WebhookAction::SessionTerminated => Kinds::TERMINATED,
                WebhookAction::MessagePublish => {
                    watch.published.push(rule.topic.as_str().into());
                    continue;
                }
                WebhookAction::MessageDelivered => {
                    watch.delivered.push(rule.topic.as_str().into());
                    continue;
                }
                WebhookAction::MessageAcked => {
                    watch.acked.push(rule.topic.as_str().into());
                    continue;
                }
            };
            watch.always = watch.always.and(kind);
        }
    }

    /// Sends an event, if it is one that a rule is about.
    pub fn tell(&self, context: &Context, seen: &Seen) {
        for action in actions(&seen.what) {
            let topic = topic(&seen.what);
            let about = |rule: &&WebhookRule| {
                rule.action == *action
                    && topic.is_none_or(|topic| topic_matches(&rule.topic, topic))
            };
            if self.rules.iter().any(|rule| about(&rule)) {
                let body = body::body(context, *action, seen, self.settings.encode_payload);
                self.put(&seen.client.client_id, body.to_string());
            }
        }
    }

    fn put(&self, client_id: &str, body: String) {
        let mut hasher = DefaultHasher::new();
        client_id.hash(&mut hasher);
        let place = hasher.finish() % self.queues.len().max(1) as u64;
        let bytes = body.len();
        let held = self.figures.bytes.fetch_add(bytes, Ordering::Relaxed);
        let queue = self.queues.get(usize::try_from(place).unwrap_or(0));
        let fits = held.saturating_add(bytes) <= self.settings.max_buffer_bytes;
        if !fits || queue.is_none_or(|queue| queue.try_send(body).is_err()) {
            self.figures.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.figures.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn headers(settings: &Settings) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(text) = &settings.authorization {
        let value = HeaderValue::from_str(text);
        let wrong = |_| "webhook.authorization is no value of a header".to_owned();
        headers.insert(AUTHORIZATION, value.map_err(wrong)?);
    }
    Ok(headers)
}

/// What EMQX 4 calls an event, in the order in which it tells of it.
fn actions(what: &SeenWhat) -> &'static [WebhookAction] {
    match what {
        SeenWhat::Connected { .. } => &[
            WebhookAction::ClientConnect,
            WebhookAction::ClientConnack,
            WebhookAction::ClientConnected,
        ],
        SeenWhat::Disconnected { .. } => &[WebhookAction::ClientDisconnected],
        SeenWhat::Subscribed { .. } => &[
            WebhookAction::ClientSubscribe,
            WebhookAction::SessionSubscribed,
        ],
        SeenWhat::Unsubscribed { .. } => &[
            WebhookAction::ClientUnsubscribe,
            WebhookAction::SessionUnsubscribed,
        ],
        SeenWhat::Terminated => &[WebhookAction::SessionTerminated],
        SeenWhat::Published(_) => &[WebhookAction::MessagePublish],
        SeenWhat::Delivered(_) => &[WebhookAction::MessageDelivered],
        SeenWhat::Acked(_) => &[WebhookAction::MessageAcked],
    }
}

fn topic(what: &SeenWhat) -> Option<&str> {
    match what {
        SeenWhat::Subscribed { filter, .. } | SeenWhat::Unsubscribed { filter } => Some(filter),
        SeenWhat::Published(message) | SeenWhat::Delivered(message) | SeenWhat::Acked(message) => {
            Some(&message.topic)
        }
        _ => None,
    }
}

impl Sender {
    async fn run(self, mut waiting: mpsc::Receiver<String>, settings: Settings) {
        let mut batch = Vec::new();
        while waiting.recv_many(&mut batch, settings.batch_size).await > 0 {
            let count = batch.len() as u64;
            let bytes: usize = batch.iter().map(String::len).sum();
            let body = match settings.batch_size {
                1 => batch.concat(),
                _ => format!("[{}]", batch.join(",")),
            };
            batch.clear();
            let taken = self.send(&body, &settings).await;
            self.figures.bytes.fetch_sub(bytes, Ordering::Relaxed);
            let figure = match taken {
                true => &self.figures.sent,
                false => &self.figures.failed,
            };
            figure.fetch_add(count, Ordering::Relaxed);
            self.note(taken);
        }
    }

    async fn send(&self, body: &str, settings: &Settings) -> bool {
        let mut pause = RETRY_AFTER;
        for attempt in 0..=settings.max_retries {
            if attempt > 0 {
                sleep(pause).await;
                pause = (pause * 2).min(RETRY_AFTER_MAX);
            }
            let request = self.client.post(&self.url).headers(self.headers.clone());
            let request = request.timeout(settings.request_timeout);
            let Ok(response) = request.body(body.to_owned()).send().await else {
                continue;
            };
            let status = response.status();
            // Read to its end, so that the connection is used again; what it says does not matter.
            let _ = response.bytes().await;
            if status.is_success() {
                return true;
            }
            let again = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
            if status.is_client_error() && !again.contains(&status) {
                return false;
            }
        }
        false
    }

    /// Raises the alarm when a request is given up, and ends it with the next that is taken.
    fn note(&self, taken: bool) {
        let state = &self.context.state;
        let noted = match taken {
            true if state.alarms.get(ALARM).is_some() => {
                alarms::end(&self.context, ALARM).map(drop)
            }
            true => Ok(()),
            false => {
                let details = json!({ "url": self.url });
                let message = "resource down: the webhook's service does not take events";
                alarms::raise(&self.context, ALARM, message, details).map(drop)
            }
        };
        if let Err(error) = noted {
            tracing::error!("an alarm cannot be kept: {error}");
        }
    }
}
