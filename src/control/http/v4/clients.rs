//! Clients in EMQX 4's shape.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Failure, MISSING, OFFLINE, PlainBody, data, done, no_node};
use crate::control::clock;
use crate::control::context::Context;
use crate::control::http::clients::{by_ids, or_infinity, proto_name, proto_ver, query_of};
use crate::control::http::error::ApiError;
use crate::control::http::extract::{Named, Paging, Params};
use crate::control::http::pages::page_of;
use crate::gate::manage::{ClientQuery, ClientRow, Manage};
use crate::metrics::Gauge;

/// The parts of a path by name: with or without a node.
pub(super) type Parts = Named<HashMap<String, String>>;

/// A part of a path; the node, if one is named, must be this one.
pub(super) fn part<'a>(
    context: &Context,
    parts: &'a HashMap<String, String>,
    name: &str,
) -> Result<&'a str, Failure> {
    check_node(context, parts)?;
    let missing = || Failure::Code(MISSING, format!("`{name}` is missing"));
    parts.get(name).map(String::as_str).ok_or_else(missing)
}

pub(super) fn check_node(
    context: &Context,
    parts: &HashMap<String, String>,
) -> Result<(), Failure> {
    match parts.get("node") {
        Some(node) if node != context.node() => Err(no_node(node)),
        _ => Ok(()),
    }
}

/// `meta` of a list; a list that nobody has counted has -1 entries.
pub(super) fn meta(paging: Paging, count: Option<u64>, hasnext: bool) -> Value {
    let count = count.map_or_else(|| json!(-1), |count| json!(count));
    json!({ "page": paging.page, "limit": paging.limit, "count": count, "hasnext": hasnext })
}

/// A client in EMQX 4's shape. What this broker does not count for each client is left out; what only
/// an Erlang process has is 0.
fn client(context: &Context, row: &ClientRow) -> Value {
    let mqtt = &context.config.mqtt;
    let connection = row.connection.as_ref();
    let mut client = json!({
        "node": context.node(),
        "clientid": row.client_id.as_str(),
        "username": row.username.as_deref().unwrap_or("undefined"),
        "proto_name": proto_name(row.version),
        "proto_ver": proto_ver(row.version),
        "is_bridge": connection.is_some_and(|c| c.is_bridge),
        "connected": connection.is_some(),
        "zone": "external",
        "keepalive": connection.map_or(0, |c| c.keep_alive_s),
        "clean_start": row.clean_start,
        "expiry_interval": row.expiry_s,
        "created_at": clock::plain(row.created_s),
        "subscriptions_cnt": row.subscriptions,
        "max_subscriptions": or_infinity(mqtt.max_subscriptions),
        "inflight": row.inflight,
        "max_inflight": row.inflight_max,
        "mqueue_len": row.queued,
        "max_mqueue": or_infinity(mqtt.max_mqueue_len),
        "awaiting_rel": row.awaiting_rel,
        "max_awaiting_rel": mqtt.max_awaiting_rel,
        "mailbox_len": 0, "heap_size": 0, "reductions": 0,
    });
    let since = clock::plain(row.since_s);
    if let Some(connection) = connection {
        client["ip_address"] = connection.peer.ip().to_string().into();
        client["port"] = connection.peer.port().into();
        client["connected_at"] = since.into();
    } else {
        client["disconnected_at"] = since.into();
    }
    client
}

pub(super) async fn list(
    State(context): State<Arc<Context>>,
    Named(parts): Parts,
    params: Params,
) -> Answer {
    check_node(&context, &parts)?;
    let paging = params.paging("_")?;
    let query = query_of(&params, "_")?;
    let unfiltered = query == ClientQuery::default();
    let (rows, hasnext) = if query.client_ids.is_empty() {
        let query = Arc::new(query);
        let step = |from, max, reply| Manage::Clients {
            from,
            query: Arc::clone(&query),
            max,
            reply,
        };
        page_of(&context, "clients", &params, paging, step).await?
    } else {
        let listed = paging.cut(by_ids(&context, query).await?);
        (listed.data, listed.meta.hasnext)
    };
    let mut count = None;
    if unfiltered {
        context.cores.refresh().await;
        count = Some(context.metrics.gauge(Gauge::Sessions));
    }
    let rows: Vec<Value> = rows.iter().map(|row| client(&context, row)).collect();
    Ok(Json(
        json!({ "code": 0, "data": rows, "meta": meta(paging, count, hasnext) }),
    ))
}

pub(super) async fn one(State(context): State<Arc<Context>>, Named(parts): Parts) -> Answer {
    let client_id = part(&context, &parts, "clientid")?;
    let found = context.cores.client(client_id).await;
    let found = found.map_err(|error| Failure::from(ApiError::from(error)))?;
    let rows: Vec<Value> = found.iter().map(|row| client(&context, row)).collect();
    Ok(data(rows))
}

pub(super) async fn by_username(
    State(context): State<Arc<Context>>,
    Named(parts): Parts,
    params: Params,
) -> Answer {
    let username = part(&context, &parts, "username")?;
    let query = Arc::new(ClientQuery {
        usernames: vec![username.to_owned()],
        ..ClientQuery::default()
    });
    let paging = params.paging("_")?;
    let step = |from, max, reply| Manage::Clients {
        from,
        query: Arc::clone(&query),
        max,
        reply,
    };
    let list = format!("clients/username/{username}");
    let (rows, _) = page_of(&context, &list, &params, paging, step).await?;
    let rows: Vec<Value> = rows.iter().map(|row| client(&context, row)).collect();
    Ok(data(rows))
}

async fn kicked(context: &Context, client_id: &str) -> Result<(), Failure> {
    let kicked = context.cores.kick(client_id).await;
    match kicked.map_err(|error| Failure::from(ApiError::from(error)))? {
        true => Ok(()),
        false => Err(Failure::Code(OFFLINE, "Client not found".to_owned())),
    }
}

pub(super) async fn kick(State(context): State<Arc<Context>>, Named(parts): Parts) -> Answer {
    kicked(&context, part(&context, &parts, "clientid")?).await?;
    Ok(done())
}

/// As EMQX 2 answered.
pub(super) async fn kick_v2(State(context): State<Arc<Context>>, Named(parts): Parts) -> Answer {
    kicked(&context, part(&context, &parts, "clientid")?).await?;
    Ok(Json(json!({ "code": 0, "result": [] })))
}

#[derive(Deserialize)]
pub(super) struct KeepAlive {
    interval: u16,
}

pub(super) async fn set_keepalive(
    State(context): State<Arc<Context>>,
    Named(parts): Parts,
    PlainBody(wanted): PlainBody<KeepAlive>,
) -> Answer {
    let client_id = part(&context, &parts, "clientid")?;
    let home = context.cores.home_of_client(client_id);
    let client_id = client_id.into();
    let step = |reply| Manage::KeepAlive {
        client_id,
        seconds: wanted.interval,
        reply,
    };
    let set = context.cores.ask(home, step).await;
    match set.map_err(|error| Failure::from(ApiError::from(error)))? {
        true => Ok(done()),
        false => Err(Failure::Code(OFFLINE, "Client not found".to_owned())),
    }
}

/// Decisions that are remembered for a client: none is told.
pub(super) async fn acl_cache(State(context): State<Arc<Context>>, Named(parts): Parts) -> Answer {
    let client_id = part(&context, &parts, "clientid")?;
    known(&context, client_id).await?;
    Ok(data(Vec::<Value>::new()))
}

pub(super) async fn forget_acl(State(context): State<Arc<Context>>, Named(parts): Parts) -> Answer {
    let client_id = part(&context, &parts, "clientid")?;
    known(&context, client_id).await?;
    forget(&context, Some(client_id)).await
}

async fn forget(context: &Context, client_id: Option<&str>) -> Answer {
    let forgotten = context.cores.forget_answers(client_id).await;
    forgotten.map_err(|error| Failure::from(ApiError::from(error)))?;
    Ok(done())
}

async fn known(context: &Context, client_id: &str) -> Result<(), Failure> {
    let found = context.cores.client(client_id).await;
    let found = found.map_err(|error| Failure::from(ApiError::from(error)))?;
    let gone = || Failure::Code(OFFLINE, "Client not found".to_owned());
    found.map(drop).ok_or_else(gone)
}

pub(super) async fn forget_all_acl(
    State(context): State<Arc<Context>>,
    Named(parts): Parts,
) -> Answer {
    check_node(&context, &parts)?;
    forget(&context, None).await
}
