//! Subscriptions, routes and messages in EMQX 4's shape.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::clients::{Parts, check_node, meta, part};
use super::{Answer, BAD_PARAMETER, Failure, MISSING, OFFLINE, PlainBody, data, done};
use crate::control::context::Context;
use crate::control::http::extract::{Named, Params};
use crate::control::http::pages::page_of;
use crate::control::http::publish::{MESSAGES_MAX, PayloadEncoding, Properties, Publish, send};
use crate::control::http::subscriptions::{
    Wanted, all_of, is_wanted, query_of, subscribe_client, unsubscribe_client,
};
use crate::gate::manage::{Manage, Published, SubscriptionQuery, SubscriptionRow};
use crate::metrics::Gauge;

fn subscription(context: &Context, row: &SubscriptionRow) -> Value {
    json!({
        "node": context.node(),
        "clientid": row.client_id.as_str(),
        "topic": row.filter,
        "qos": row.options.qos.as_u8(),
    })
}

pub(super) async fn subscriptions(
    State(context): State<Arc<Context>>,
    Named(parts): Parts,
    params: Params,
) -> Answer {
    check_node(&context, &parts)?;
    let paging = params.paging("_")?;
    let query = query_of(&params, "_match_topic")?;
    let unfiltered = query == SubscriptionQuery::default() && params.text("clientid").is_none();
    let (rows, hasnext) = match params.text("clientid") {
        Some(client_id) => {
            let mut rows = all_of(&context, client_id).await?.unwrap_or_default();
            rows.retain(|row| query.fits(row));
            let listed = paging.cut(rows);
            (listed.data, listed.meta.hasnext)
        }
        None => {
            let query = Arc::new(query);
            let step = |from, max, reply| Manage::Subscriptions {
                from,
                query: Arc::clone(&query),
                max,
                reply,
            };
            page_of(&context, "subscriptions", &params, paging, step).await?
        }
    };
    let mut count = None;
    if unfiltered {
        context.cores.refresh().await;
        count = Some(context.metrics.gauge(Gauge::Subscriptions));
    }
    let rows: Vec<Value> = rows.iter().map(|row| subscription(&context, row)).collect();
    Ok(Json(
        json!({ "code": 0, "data": rows, "meta": meta(paging, count, hasnext) }),
    ))
}

pub(super) async fn subscriptions_of(
    State(context): State<Arc<Context>>,
    Named(parts): Parts,
) -> Answer {
    let client_id = part(&context, &parts, "clientid")?;
    let rows = all_of(&context, client_id).await?.unwrap_or_default();
    let rows: Vec<Value> = rows.iter().map(|row| subscription(&context, row)).collect();
    Ok(data(rows))
}

pub(super) async fn routes(State(context): State<Arc<Context>>, params: Params) -> Answer {
    let paging = params.paging("_")?;
    let step = |from, max, reply| Manage::Topics { from, max, reply };
    let (rows, hasnext) = page_of(&context, "topics", &params, paging, step).await?;
    let node = context.node();
    let rows: Vec<Value> = rows
        .iter()
        .map(|topic| json!({ "topic": topic, "node": node }))
        .collect();
    let count = Some(context.metrics.gauge(Gauge::Topics));
    Ok(Json(
        json!({ "code": 0, "data": rows, "meta": meta(paging, count, hasnext) }),
    ))
}

pub(super) async fn route(State(context): State<Arc<Context>>, Named(parts): Parts) -> Answer {
    let topic = part(&context, &parts, "topic")?;
    let rows = match is_wanted(&context, topic).await? {
        true => vec![json!({ "topic": topic, "node": context.node() })],
        false => Vec::new(),
    };
    Ok(data(rows))
}

/// A message, or a subscription: one topic, or several with commas between.
#[derive(Deserialize)]
pub(super) struct Topics {
    #[serde(default)]
    topic: Option<String>,
    #[serde(default)]
    topics: Option<String>,
}

impl Topics {
    fn all(&self) -> Result<Vec<String>, Failure> {
        let many = self.topics.iter().flat_map(|topics| topics.split(','));
        let many = many.map(|topic| topic.trim().to_owned());
        let all: Vec<String> = self.topic.iter().cloned().chain(many).collect();
        match all.iter().all(String::is_empty) {
            true => Err(Failure::Code(MISSING, "`topic` is missing".to_owned())),
            false => Ok(all),
        }
    }

    /// As it was given, for the answer of a batch.
    fn shown(&self) -> Value {
        json!(self.topic.as_ref().or(self.topics.as_ref()))
    }
}

#[derive(Deserialize)]
pub(super) struct Message {
    #[serde(flatten)]
    topics: Topics,
    #[serde(default)]
    clientid: Option<Value>,
    #[serde(default)]
    payload: Value,
    #[serde(default)]
    encoding: PayloadEncoding,
    #[serde(default)]
    qos: u8,
    #[serde(default)]
    retain: Value,
    #[serde(default)]
    properties: Properties,
}

/// EMQX 4 takes 0 and 1 as well.
fn is_true(value: &Value) -> bool {
    *value == json!(true) || *value == json!(1) || *value == json!("true")
}

async fn publish_one(context: &Context, message: &Message) -> Result<(), Failure> {
    let payload = match &message.payload {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    let clientid = message.clientid.as_ref().map(|id| match id {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    for topic in message.topics.all()? {
        let publish = Publish {
            topic,
            payload: payload.clone(),
            payload_encoding: message.encoding,
            qos: message.qos,
            retain: is_true(&message.retain),
            clientid: clientid.clone(),
            properties: message.properties.clone(),
        };
        match send(context, publish.checked(context)?).await? {
            Published::Sent | Published::NoSubscribers => {}
            Published::Refused => {
                return Err(Failure::Code(super::BAD_TOPIC, "bad_topic".to_owned()));
            }
            Published::Busy => return Err(Failure::Code(super::RPC, "try again".to_owned())),
        }
    }
    Ok(())
}

pub(super) async fn publish(
    State(context): State<Arc<Context>>,
    PlainBody(message): PlainBody<Message>,
) -> Answer {
    publish_one(&context, &message).await?;
    Ok(done())
}

/// The answer of a batch: a result code for each.
fn outcome(topic: Value, done: Result<(), Failure>) -> Result<Value, Failure> {
    match done {
        Ok(()) => Ok(json!({ "topic": topic, "code": 0 })),
        Err(Failure::Code(code, message)) => {
            Ok(json!({ "topic": topic, "code": code, "message": message }))
        }
        Err(failure) => Err(failure),
    }
}

fn check_count(count: usize) -> Result<(), Failure> {
    if count > MESSAGES_MAX {
        let message = format!("these are more than {MESSAGES_MAX}");
        return Err(Failure::Code(BAD_PARAMETER, message));
    }
    Ok(())
}

pub(super) async fn publish_many(
    State(context): State<Arc<Context>>,
    PlainBody(messages): PlainBody<Vec<Message>>,
) -> Answer {
    check_count(messages.len())?;
    let mut outcomes = Vec::new();
    for message in &messages {
        let done = publish_one(&context, message).await;
        outcomes.push(outcome(message.topics.shown(), done)?);
    }
    Ok(data(outcomes))
}

#[derive(Deserialize)]
pub(super) struct Subscription {
    #[serde(flatten)]
    topics: Topics,
    clientid: String,
    #[serde(default)]
    qos: u8,
}

fn offline() -> Failure {
    Failure::Code(OFFLINE, "Client not found".to_owned())
}

async fn subscribe_one(context: &Context, wanted: &Subscription) -> Result<(), Failure> {
    let all = wanted.topics.all()?.into_iter();
    let filters: Vec<Wanted> = all
        .map(|topic| Wanted {
            topic,
            qos: wanted.qos,
            nl: 0,
            rap: 0,
            rh: 0,
        })
        .collect();
    let reasons = subscribe_client(context, &wanted.clientid, &filters).await?;
    let reasons = reasons.ok_or_else(offline)?;
    match reasons.iter().find(|reason| **reason > 2) {
        Some(reason) => {
            let message = format!("refused with reason {reason:#04x}");
            Err(Failure::Code(BAD_PARAMETER, message))
        }
        None => Ok(()),
    }
}

pub(super) async fn subscribe(
    State(context): State<Arc<Context>>,
    PlainBody(wanted): PlainBody<Subscription>,
) -> Answer {
    subscribe_one(&context, &wanted).await?;
    Ok(done())
}

pub(super) async fn subscribe_many(
    State(context): State<Arc<Context>>,
    PlainBody(all): PlainBody<Vec<Subscription>>,
) -> Answer {
    check_count(all.len())?;
    let mut outcomes = Vec::new();
    for wanted in &all {
        let done = subscribe_one(&context, wanted).await;
        outcomes.push(outcome(wanted.topics.shown(), done)?);
    }
    Ok(data(outcomes))
}

async fn unsubscribe_one(context: &Context, unwanted: &Subscription) -> Result<(), Failure> {
    let filters = unwanted.topics.all()?;
    let ended = unsubscribe_client(context, &unwanted.clientid, &filters).await?;
    ended.map(drop).ok_or_else(offline)
}

pub(super) async fn unsubscribe(
    State(context): State<Arc<Context>>,
    PlainBody(unwanted): PlainBody<Subscription>,
) -> Answer {
    unsubscribe_one(&context, &unwanted).await?;
    Ok(done())
}

pub(super) async fn unsubscribe_many(
    State(context): State<Arc<Context>>,
    PlainBody(all): PlainBody<Vec<Subscription>>,
) -> Answer {
    check_count(all.len())?;
    let mut outcomes = Vec::new();
    for unwanted in &all {
        let done = unsubscribe_one(&context, unwanted).await;
        outcomes.push(outcome(unwanted.topics.shown(), done)?);
    }
    Ok(data(outcomes))
}
