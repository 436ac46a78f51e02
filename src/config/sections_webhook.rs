//! Settings of the webhook: events of clients and messages, sent to a service of the operator's.

use std::path::PathBuf;
use std::time::Duration;

use super::kind::{FilePath, Flag, Kind, Raw, bytes, choice, integer, span, text, unless};
use super::sections_messaging::{Filter, names, require};
use super::setting::{Change, Section, Setting, parses_to, section};
use super::values::{Problem, Values};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// Most rules: each is looked at for every message that is published while it is about messages.
const RULES_MAX: usize = 64;

section! {
    /// The webhook: an HTTP POST for events of clients and messages, with EMQX 4's bodies. It is one-way:
    /// answers are looked at for success only, and nothing that clients do waits for it. What finds its
    /// queue full, or fails more often than may be tried, is dropped and counted.
    pub struct Webhook at "webhook" {
        /// Whether events are sent.
        enable: bool = "false", Flag, Restart;

        /// Where to, `http://` or `https://`.
        url: Option<String> = "none", unless(&["none"], text(2048)), Restart;

        /// Who vouches for the service behind `https://`: a PEM file. Without one, Mozilla's list.
        cacertfile: Option<PathBuf> = "none", unless(&["none"], FilePath), Restart;

        /// What goes into the header `Authorization`.
        authorization: Option<String> = "none", unless(&["none"], text(4096)), Restart;

        /// How the payload of a message is written: `plain` (as text, what is no UTF-8 replaced) or
        /// `base64`.
        encode_payload: PayloadForm = "plain", choice(PayloadForm::WORDS), Restart;

        /// How long an answer may take.
        request_timeout: Duration = "5s", span(SECOND, MINUTE), Restart;

        /// How long connecting may take.
        connect_timeout: Duration = "5s", span(SECOND, MINUTE), Restart;

        /// Connections at a time. Events of one client go by the same one, in their order.
        pool_size: u16 = "8", integer(1, 64), Restart;

        /// Events of one request. With 1 the body is one event, as EMQX 4 has it; with more it is a list
        /// of up to so many, whatever waits.
        batch_size: usize = "1", integer(1, 1000), Restart;

        /// How often a request that failed is sent again: after 100 ms, then twice as long each time.
        /// Answers with status 400 to 499 but for 408 and 429 are not repeated.
        max_retries: u32 = "3", integer(0, 20), Restart;

        /// Events that may wait.
        max_buffer_events: usize = "10000", integer(1, 1_000_000), Restart;

        /// Bytes of events that may wait.
        max_buffer_bytes: usize = "64MB", bytes(1024, 4 << 30), Restart;
    }
}

section! {
    /// What the webhook is to be told; in TOML, `[[webhook.rules]]`.
    pub struct WebhookRule at "webhook.rules.<name>" {
        /// The event: `on_client_connect`, `on_client_connack`, `on_client_connected`,
        /// `on_client_disconnected`, `on_client_subscribe`, `on_client_unsubscribe`,
        /// `on_session_subscribed`, `on_session_unsubscribed`, `on_session_terminated`,
        /// `on_message_publish`, `on_message_delivered`, `on_message_acked`.
        action: WebhookAction = "on_client_connected", Event, Restart;

        /// Only topics, or filters of subscriptions, that this filter matches.
        topic: String = "#", Filter, Restart;
    }
}

/// How a payload is written in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadForm {
    /// As text.
    Plain,
    /// RFC 4648.
    Base64,
}

impl PayloadForm {
    const WORDS: &'static [(&'static str, Self)] =
        &[("plain", Self::Plain), ("base64", Self::Base64)];
}

/// An event of the webhook, by EMQX 4's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names in WORDS say it")]
pub enum WebhookAction {
    ClientConnect,
    ClientConnack,
    ClientConnected,
    ClientDisconnected,
    ClientSubscribe,
    ClientUnsubscribe,
    SessionSubscribed,
    SessionUnsubscribed,
    SessionTerminated,
    MessagePublish,
    MessageDelivered,
    MessageAcked,
}

impl WebhookAction {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("on_client_connect", Self::ClientConnect),
        ("on_client_connack", Self::ClientConnack),
        ("on_client_connected", Self::ClientConnected),
        ("on_client_disconnected", Self::ClientDisconnected),
        ("on_client_subscribe", Self::ClientSubscribe),
        ("on_client_unsubscribe", Self::ClientUnsubscribe),
        ("on_session_subscribed", Self::SessionSubscribed),
        ("on_session_unsubscribed", Self::SessionUnsubscribed),
        ("on_session_terminated", Self::SessionTerminated),
        ("on_message_publish", Self::MessagePublish),
        ("on_message_delivered", Self::MessageDelivered),
        ("on_message_acked", Self::MessageAcked),
    ];

    /// The name in bodies, which has no `on_`.
    pub fn name(self) -> &'static str {
        let word = Self::WORDS.iter().find(|(_, action)| *action == self);
        let word = word.map_or("", |(word, _)| *word);
        word.strip_prefix("on_").unwrap_or(word)
    }
}

/// The name of an event.
struct Event;

impl Kind for Event {
    type Out = WebhookAction;

    fn parse(&self, raw: &Raw) -> Result<WebhookAction, String> {
        choice(WebhookAction::WORDS).parse(raw)
    }

    fn describe(&self) -> String {
        "name of an event".to_owned()
    }
}

/// The rules in their order.
pub(super) fn rules(values: &Values) -> Result<Vec<WebhookRule>, Vec<Problem>> {
    const PREFIX: &str = "webhook.rules";
    let (mut rules, mut problems) = (Vec::new(), Vec::new());
    for name in names(values, PREFIX, RULES_MAX, &mut problems) {
        let prefix = format!("{PREFIX}.{name}");
        require(values, &prefix, &["action"], &mut problems);
        rules.push(WebhookRule::read(values, &prefix));
    }
    let given = |key: &str| values.origin(&format!("webhook.{key}"));
    let webhook = Webhook::read(values, Webhook::SECTION.prefix);
    let problem = |key: &str, what: &str| Problem {
        origin: given(key).cloned(),
        key: Some(format!("webhook.{key}")),
        what: what.to_owned(),
    };
    if webhook.enable {
        match &webhook.url {
            None => problems.push(problem("url", "it is needed and missing")),
            Some(url) if !url.starts_with("http://") && !url.starts_with("https://") => {
                problems.push(problem(
                    "url",
                    "it begins with neither http:// nor https://",
                ));
            }
            Some(_) => {}
        }
    }
    match problems.is_empty() {
        true => Ok(rules),
        false => Err(problems),
    }
}
