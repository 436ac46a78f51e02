//! Figures of chosen topics, slow subscriptions and traces in EMQX 4's shape.

use std::sync::Arc;

use axum::extract::State;
use serde_json::{Value, json};

use super::clients::{Parts, part};
use super::{Answer, BAD_PARAMETER, Failure, PlainBody, data, done};
use crate::control::clock;
use crate::control::context::Context;
use crate::control::http::error::ApiError;
use crate::control::http::extract::{Body, Named};
use crate::control::http::slow_subscriptions;
use crate::control::http::topic_metrics::{Choice, begin};
use crate::control::http::trace::{self, NewTrace};
use crate::control::topic_metrics::{self, TopicRow};

fn value(answer: &impl serde::Serialize) -> Value {
    serde_json::to_value(answer).unwrap_or_default()
}

fn topic_row(row: TopicRow) -> Value {
    json!({
        "topic": row.topic,
        "create_time": clock::rfc3339(row.created_s),
        "metrics": row.metrics,
    })
}

fn not_counted(topic: &str) -> Failure {
    Failure::Code(BAD_PARAMETER, format!("`{topic}` is not counted"))
}

pub(super) async fn topics(State(context): State<Arc<Context>>) -> Answer {
    let rows = context.topic_metrics.rows().into_iter();
    Ok(data(rows.map(topic_row).collect::<Vec<Value>>()))
}

pub(super) async fn topic(State(context): State<Arc<Context>>, Named(parts): Parts) -> Answer {
    let topic = part(&context, &parts, "topic")?;
    let row = context.topic_metrics.row(topic);
    let row = row.ok_or_else(|| not_counted(topic))?;
    Ok(data(topic_row(row)))
}

pub(super) async fn count_topic(
    State(context): State<Arc<Context>>,
    PlainBody(choice): PlainBody<Choice>,
) -> Answer {
    begin(&context, &choice.topic).await?;
    Ok(done())
}

pub(super) async fn reset_topics(
    State(context): State<Arc<Context>>,
    Named(parts): Parts,
) -> Answer {
    let topic = parts.get("topic").map(String::as_str);
    match context.topic_metrics.reset(topic) {
        true => Ok(done()),
        false => Err(not_counted(topic.unwrap_or_default())),
    }
}

pub(super) async fn forget_topics(
    State(context): State<Arc<Context>>,
    Named(parts): Parts,
) -> Answer {
    let topic = parts.get("topic").map(String::as_str);
    let there = topic_metrics::forget(&context, topic).await;
    match there.map_err(ApiError::from)? {
        true => Ok(done()),
        false => Err(not_counted(topic.unwrap_or_default())),
    }
}

pub(super) async fn slow(State(context): State<Arc<Context>>) -> Answer {
    let rows = slow_subscriptions::list(State(context)).await?;
    Ok(data(value(&rows.0)))
}

pub(super) async fn forget_slow(State(context): State<Arc<Context>>) -> Answer {
    slow_subscriptions::forget(State(context)).await?;
    Ok(done())
}

pub(super) async fn traces(State(context): State<Arc<Context>>) -> Answer {
    Ok(data(value(&trace::list(State(context)).await.0)))
}

pub(super) async fn begin_trace(
    State(context): State<Arc<Context>>,
    PlainBody(wanted): PlainBody<NewTrace>,
) -> Answer {
    let made = trace::create(State(context), Body(wanted)).await?;
    Ok(data(value(&made.0)))
}

pub(super) async fn forget_traces(State(context): State<Arc<Context>>) -> Answer {
    trace::delete_all(State(context)).await?;
    Ok(done())
}

pub(super) async fn forget_trace(
    State(context): State<Arc<Context>>,
    Named(parts): Parts,
) -> Answer {
    let name = part(&context, &parts, "name")?.to_owned();
    trace::delete(State(context), Named(name)).await?;
    Ok(done())
}

pub(super) async fn stop_trace(State(context): State<Arc<Context>>, Named(parts): Parts) -> Answer {
    let name = part(&context, &parts, "name")?.to_owned();
    let stopped = trace::stop(State(context), Named(name)).await?;
    Ok(data(value(&stopped.0)))
}
