//! Brokers, figures, listeners, bans and alarms in EMQX 4's shape.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::clients::{Parts, check_node, meta, part};
use super::{Answer, BAD_PARAMETER, Failure, PlainBody, data, done};
use crate::control::alarms;
use crate::control::bans;
use crate::control::clock;
use crate::control::context::Context;
use crate::control::http::alarms::ShownAlarm;
use crate::control::http::auth::Caller;
use crate::control::http::banned::{Moment, NewBan};
use crate::control::http::error::ApiError;
use crate::control::http::extract::{Named, Params};
use crate::control::http::listeners::{all, command};
use crate::control::http::metrics::{counters, gauges};
use crate::control::http::nodes::Node;
use crate::control::state::{Alarm, Ban, BanKind, Collection};

/// Seconds of a ban that does not say until when.
const BAN_S: u64 = 300;

fn broker_of(context: &Context) -> Value {
    json!({
        "node": context.node(),
        "node_status": "Running",
        "version": env!("CARGO_PKG_VERSION"),
        "sysdescr": "Millrace",
        "uptime": uptime(context),
        "datetime": clock::plain(clock::unix_s()),
        "otp_release": "none",
    })
}

/// `2 days, 3 hours, 4 minutes, 5 seconds`
fn uptime(context: &Context) -> String {
    let seconds = context.uptime_ms() / 1000;
    let parts = [
        (seconds / 86_400, "days"),
        (seconds / 3_600 % 24, "hours"),
        (seconds / 60 % 60, "minutes"),
        (seconds % 60, "seconds"),
    ];
    let shown = parts
        .iter()
        .skip_while(|(count, name)| *count == 0 && *name != "seconds");
    let shown: Vec<String> = shown
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    shown.join(", ")
}

pub(super) async fn brokers(State(context): State<Arc<Context>>) -> Answer {
    Ok(data(vec![broker_of(&context)]))
}

pub(super) async fn broker(State(context): State<Arc<Context>>, Named(parts): Parts) -> Answer {
    check_node(&context, &parts)?;
    Ok(data(broker_of(&context)))
}

async fn node_of(context: &Context) -> Value {
    let node = Node::new(context).await;
    let megabytes =
        |bytes: u64| format!("{}.{:02}M", bytes >> 20, (bytes >> 10) % 1024 * 100 / 1024);
    json!({
        "node": node.node,
        "node_status": "Running",
        "version": node.version,
        "uptime": uptime(context),
        "connections": node.connections,
        "load1": format!("{:.2}", node.load1),
        "load5": format!("{:.2}", node.load5),
        "load15": format!("{:.2}", node.load15),
        "max_fds": node.max_fds,
        "memory_total": megabytes(node.memory_total),
        "memory_used": megabytes(node.memory_used),
        "otp_release": node.otp_release,
        "process_available": 0,
        "process_used": 0,
    })
}

pub(super) async fn nodes(State(context): State<Arc<Context>>) -> Answer {
    Ok(data(vec![node_of(&context).await]))
}

pub(super) async fn node(State(context): State<Arc<Context>>, Named(parts): Parts) -> Answer {
    check_node(&context, &parts)?;
    Ok(data(node_of(&context).await))
}

/// Whether the path names a node; then the answer is about that one alone.
fn is_of_node(context: &Context, parts: &Parts) -> Result<bool, Failure> {
    check_node(context, &parts.0)?;
    Ok(parts.0.contains_key("node"))
}

pub(super) async fn metrics(State(context): State<Arc<Context>>, parts: Parts) -> Answer {
    let all = counters(&context);
    match is_of_node(&context, &parts)? {
        true => Ok(data(all)),
        false => Ok(data(vec![
            json!({ "node": context.node(), "metrics": all }),
        ])),
    }
}

pub(super) async fn stats(State(context): State<Arc<Context>>, parts: Parts) -> Answer {
    let all = gauges(&context).await;
    match is_of_node(&context, &parts)? {
        true => Ok(data(all)),
        false => Ok(data(vec![json!({ "node": context.node(), "stats": all })])),
    }
}

pub(super) async fn listeners(State(context): State<Arc<Context>>, parts: Parts) -> Answer {
    let rows = all(&context).into_iter().map(|listener| {
        let ended = listener.shutdown_count.iter();
        let ended: Vec<Value> = ended.map(|(name, count)| json!({ name: count })).collect();
        json!({
            "identifier": format!("mqtt:{}", listener.id),
            "protocol": format!("mqtt:{}", listener.kind),
            "listen_on": listener.bind,
            "acceptors": listener.acceptors,
            "max_conns": listener.max_connections,
            "current_conns": listener.current_connections,
            "shutdown_count": ended,
        })
    });
    let rows: Vec<Value> = rows.collect();
    match is_of_node(&context, &parts)? {
        true => Ok(data(rows)),
        false => Ok(data(vec![
            json!({ "node": context.node(), "listeners": rows }),
        ])),
    }
}

pub(super) async fn restart_listener(
    State(context): State<Arc<Context>>,
    Named(parts): Parts,
) -> Answer {
    let id = part(&context, &parts, "id")?;
    let id = listener_id(&context, id);
    command(&context, id, |control, id| control.restart(id)).await?;
    Ok(done())
}

/// The id of a listener that EMQX 4 calls, say, `mqtt:tcp:external`: that is its first one of a kind.
fn listener_id(context: &Context, word: &str) -> String {
    let bare = word.strip_prefix("mqtt:").unwrap_or(word);
    let is_known = |id: &str| all(context).iter().any(|listener| listener.id == id);
    let first = bare.strip_suffix(":external");
    let first = first.map(|kind| format!("{kind}:default"));
    first
        .filter(|first| !is_known(bare) && is_known(first))
        .unwrap_or_else(|| bare.to_owned())
}

fn ban_of(ban: &Ban) -> Value {
    json!({
        "who": ban.who,
        "as": bans::word(ban.kind),
        "reason": ban.reason,
        "by": ban.by,
        "at": ban.at_s,
        "until": ban.until_s.map_or_else(|| json!("infinity"), |until| json!(until)),
    })
}

pub(super) async fn banned(State(context): State<Arc<Context>>, params: Params) -> Answer {
    let paging = params.paging("_")?;
    let listed = paging.cut(bans::all(&context));
    let rows: Vec<Value> = listed.data.iter().map(ban_of).collect();
    let meta = meta(paging, listed.meta.count, listed.meta.hasnext);
    Ok(Json(json!({ "code": 0, "data": rows, "meta": meta })))
}

pub(super) async fn ban(
    State(context): State<Arc<Context>>,
    Extension(caller): Extension<Caller>,
    PlainBody(mut new): PlainBody<NewBan>,
) -> Answer {
    if new.until.is_none() {
        new.until = Some(Moment::Seconds(clock::unix_s() + BAN_S));
    }
    let ban = new.checked(&caller)?;
    bans::add(&context, ban.clone()).map_err(ApiError::from)?;
    Ok(data(ban_of(&ban)))
}

pub(super) async fn unban(State(context): State<Arc<Context>>, Named(parts): Parts) -> Answer {
    let (word, who) = (
        part(&context, &parts, "as")?,
        part(&context, &parts, "who")?,
    );
    let wrong = || Failure::Code(BAD_PARAMETER, format!("there is no kind of ban `{word}`"));
    let kind: BanKind = bans::kind(word).ok_or_else(wrong)?;
    bans::remove(&context, kind, who).map_err(ApiError::from)?;
    Ok(done())
}

fn alarms_of(context: &Context, kept: &Collection<Alarm>) -> Vec<Value> {
    let rows = kept.all().into_iter().rev();
    rows.map(|(_, alarm)| {
        let active = alarm.deactivated_ms.is_none();
        let mut shown = json!(ShownAlarm::new(context, alarm));
        shown["activated"] = active.into();
        shown
    })
    .collect()
}

fn with_node(context: &Context, parts: &Parts, rows: Vec<Value>) -> Answer {
    match is_of_node(context, parts)? {
        true => Ok(data(rows)),
        false => Ok(data(vec![
            json!({ "node": context.node(), "alarms": rows }),
        ])),
    }
}

pub(super) async fn alarms(State(context): State<Arc<Context>>, parts: Parts) -> Answer {
    let mut rows = alarms_of(&context, &context.state.alarms);
    rows.extend(alarms_of(&context, &context.state.alarm_history));
    with_node(&context, &parts, rows)
}

pub(super) async fn activated(State(context): State<Arc<Context>>, parts: Parts) -> Answer {
    with_node(&context, &parts, alarms_of(&context, &context.state.alarms))
}

pub(super) async fn deactivated(State(context): State<Arc<Context>>, parts: Parts) -> Answer {
    with_node(
        &context,
        &parts,
        alarms_of(&context, &context.state.alarm_history),
    )
}

#[derive(Deserialize)]
pub(super) struct AlarmName {
    name: String,
}

pub(super) async fn deactivate(
    State(context): State<Arc<Context>>,
    PlainBody(alarm): PlainBody<AlarmName>,
) -> Answer {
    match alarms::end(&context, &alarm.name).map_err(ApiError::from)? {
        true => Ok(done()),
        false => {
            let message = format!("`{}` is not active", alarm.name);
            Err(Failure::Code(BAD_PARAMETER, message))
        }
    }
}

pub(super) async fn forget_alarms(State(context): State<Arc<Context>>) -> Answer {
    alarms::forget(&context.state).map_err(ApiError::from)?;
    Ok(done())
}
