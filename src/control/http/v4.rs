//! EMQX 4's management API for the tools that know it: its paths, its envelope
//! `{"code":0,"data":...,"meta":...}`, its result codes. Underneath it does what `/api/v5` does.
//!
//! Two paths of EMQX 2 and 3 by which clients are kicked are served as well.

mod clients;
mod diagnose;
mod messages;
mod operation;

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::control::context::Context;
use crate::control::http::error::ApiError;
use crate::control::http::trace;

/// A parameter is missing.
const MISSING: u32 = 107;
/// A parameter is wrong.
const BAD_PARAMETER: u32 = 108;
/// The body is not JSON.
const NOT_JSON: u32 = 109;
/// The client is not there.
const OFFLINE: u32 = 112;
/// The topic is not valid.
const BAD_TOPIC: u32 = 115;
/// A core does not answer.
const RPC: u32 = 101;
/// Something else.
const UNKNOWN: u32 = 102;

/// A result, or a result code with its sentence: both are answers with status 200.
type Answer = Result<Json<Value>, Failure>;

/// Why there is no result.
#[derive(Debug)]
enum Failure {
    /// EMQX 4 says so with a result code.
    Code(u32, String),
    /// Or with a status code.
    Status(ApiError),
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        match error.body.code {
            "CLIENTID_NOT_FOUND" => Self::Code(OFFLINE, error.body.message),
            "BAD_TOPIC" => Self::Code(BAD_TOPIC, error.body.message),
            "BAD_REQUEST" | "INVALID_PARAMETER" => Self::Code(BAD_PARAMETER, error.body.message),
            "SERVICE_UNAVAILABLE" => Self::Code(RPC, error.body.message),
            "EXCEED_LIMIT" | "INTERNAL_ERROR" => Self::Code(UNKNOWN, error.body.message),
            _ => Self::Status(error),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Code(code, message) => {
                Json(json!({ "code": code, "message": message })).into_response()
            }
            Self::Status(error) => {
                let message = error.body.message;
                let body = json!({ "code": error.status.as_u16(), "message": message });
                (error.status, Json(body)).into_response()
            }
        }
    }
}

/// A JSON body, whatever its `Content-Type` says: the examples of EMQX 4's documentation send none, and so
/// do the scripts that were made of them. (What a page of another site sends does not come this far.)
struct PlainBody<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for PlainBody<T> {
    type Rejection = Failure;

    async fn from_request(mut request: Request, state: &S) -> Result<Self, Failure> {
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        match Json::from_request(request, state).await {
            Ok(Json(value)) => Ok(Self(value)),
            Err(JsonRejection::JsonSyntaxError(error)) => {
                Err(Failure::Code(NOT_JSON, error.body_text()))
            }
            Err(rejection) => Err(ApiError::from(rejection).into()),
        }
    }
}

/// A result.
fn data(data: impl Into<Value>) -> Json<Value> {
    Json(json!({ "code": 0, "data": data.into() }))
}

/// It is done.
fn done() -> Json<Value> {
    Json(json!({ "code": 0 }))
}

/// Every path: method, path, name, what it does; the index lists them.
const PATHS: &[(&str, &str, &str, &str)] = &[
    ("GET", "/brokers/", "list_brokers", "A list of brokers"),
    ("GET", "/brokers/:node", "get_broker", "A broker"),
    ("GET", "/nodes/", "list_nodes", "A list of nodes"),
    ("GET", "/nodes/:node", "lookup_node", "A node"),
    ("GET", "/clients/", "list_clients", "A list of clients"),
    ("GET", "/clients/:clientid", "lookup_client", "A client"),
    (
        "DELETE",
        "/clients/:clientid",
        "kickout_client",
        "Kick a client",
    ),
    (
        "GET",
        "/clients/username/:username",
        "lookup_client_via_username",
        "Clients by user name",
    ),
    (
        "PUT",
        "/clients/:clientid/keepalive",
        "set_keepalive",
        "Change a keep-alive",
    ),
    (
        "GET",
        "/clients/:clientid/acl_cache",
        "list_acl_cache",
        "Remembered decisions of a client",
    ),
    (
        "DELETE",
        "/clients/:clientid/acl_cache",
        "clean_acl_cache",
        "Forget them",
    ),
    (
        "GET",
        "/subscriptions/",
        "list_subscriptions",
        "A list of subscriptions",
    ),
    (
        "GET",
        "/subscriptions/:clientid",
        "lookup_client_subscriptions",
        "Those of a client",
    ),
    ("GET", "/routes/", "list_routes", "A list of routes"),
    ("GET", "/routes/:topic", "lookup_routes", "A route"),
    ("POST", "/mqtt/publish", "mqtt_publish", "Publish a message"),
    (
        "POST",
        "/mqtt/publish_batch",
        "mqtt_publish_batch",
        "Publish messages",
    ),
    (
        "POST",
        "/mqtt/subscribe",
        "mqtt_subscribe",
        "Subscribe a client",
    ),
    (
        "POST",
        "/mqtt/subscribe_batch",
        "mqtt_subscribe_batch",
        "Subscribe clients",
    ),
    (
        "POST",
        "/mqtt/unsubscribe",
        "mqtt_unsubscribe",
        "Unsubscribe a client",
    ),
    (
        "POST",
        "/mqtt/unsubscribe_batch",
        "mqtt_unsubscribe_batch",
        "Unsubscribe clients",
    ),
    (
        "GET",
        "/listeners/",
        "list_listeners",
        "A list of listeners",
    ),
    (
        "PUT",
        "/listeners/:identifier/restart",
        "restart_listener",
        "Restart a listener",
    ),
    ("GET", "/metrics/", "list_all_metrics", "Counters"),
    ("GET", "/stats/", "list_stats", "Gauges"),
    ("GET", "/banned/", "list_banned", "A list of bans"),
    ("POST", "/banned/", "create_banned", "Ban someone"),
    ("DELETE", "/banned/:as/:who", "delete_banned", "End a ban"),
    ("GET", "/alarms/", "list_all_alarms", "Alarms"),
    (
        "GET",
        "/alarms/activated",
        "list_activated_alarms",
        "Alarms that are active",
    ),
    (
        "GET",
        "/alarms/deactivated",
        "list_deactivated_alarms",
        "Alarms that are over",
    ),
    (
        "POST",
        "/alarms/deactivated",
        "deactivate_alarm",
        "Deactivate an alarm",
    ),
    (
        "DELETE",
        "/alarms/deactivated",
        "delete_deactivated_alarms",
        "Forget alarms that are over",
    ),
    (
        "DELETE",
        "/acl-cache",
        "clean_acl_cache_all",
        "Forget all remembered decisions",
    ),
    (
        "GET",
        "/topic-metrics/",
        "list_all_topic_metrics",
        "Topics that are counted",
    ),
    (
        "GET",
        "/topic-metrics/:topic",
        "list_topic_metrics",
        "One of them",
    ),
    (
        "POST",
        "/topic-metrics/",
        "register_topic_metrics",
        "Count a topic",
    ),
    (
        "PUT",
        "/topic-metrics/:topic",
        "reset_topic_metrics",
        "Set the figures of a topic to 0",
    ),
    (
        "PUT",
        "/topic-metrics/",
        "reset_all_topic_metrics",
        "Set all of them to 0",
    ),
    (
        "DELETE",
        "/topic-metrics/:topic",
        "unregister_topic_metrics",
        "Count a topic no more",
    ),
    (
        "DELETE",
        "/topic-metrics/",
        "unregister_all_topic_metrics",
        "Count none",
    ),
    (
        "GET",
        "/slow_subscriptions",
        "get_history",
        "Slow subscriptions",
    ),
    (
        "DELETE",
        "/slow_subscriptions",
        "clear_history",
        "Forget them",
    ),
    ("GET", "/trace/", "list_trace", "Traces"),
    ("POST", "/trace/", "create_trace", "Begin a trace"),
    ("DELETE", "/trace/", "clear_traces", "Forget all traces"),
    ("DELETE", "/trace/:name", "delete_trace", "Forget a trace"),
    ("PUT", "/trace/:name/stop", "disable_trace", "End a trace"),
    (
        "GET",
        "/trace/:name/download",
        "download_zip_log",
        "The file of a trace",
    ),
];

async fn index() -> Json<Value> {
    let paths = PATHS.iter().map(|(method, path, name, descr)| {
        json!({ "method": method, "path": path, "name": name, "descr": descr })
    });
    data(paths.collect::<Vec<Value>>())
}

/// The routes, without a prefix; what a node has is found below its name as well.
pub fn routes() -> Router<Arc<Context>> {
    let of_node = Router::new()
        .route("/clients", get(clients::list))
        .route(
            "/clients/{clientid}",
            get(clients::one).delete(clients::kick),
        )
        .route("/clients/username/{username}", get(clients::by_username))
        .route(
            "/clients/{clientid}/acl_cache",
            get(clients::acl_cache).delete(clients::forget_acl),
        )
        .route("/subscriptions", get(messages::subscriptions))
        .route("/subscriptions/{clientid}", get(messages::subscriptions_of))
        .route("/listeners", get(operation::listeners))
        .route("/metrics", get(operation::metrics))
        .route("/stats", get(operation::stats))
        .route("/alarms", get(operation::alarms))
        .route("/alarms/activated", get(operation::activated))
        .route("/alarms/deactivated", get(operation::deactivated));
    let everywhere = Router::new()
        .route("/", get(index))
        .route("/brokers", get(operation::brokers))
        .route("/brokers/{node}", get(operation::broker))
        .route("/nodes", get(operation::nodes))
        .route("/nodes/{node}", get(operation::node))
        .route("/clients/{clientid}/keepalive", put(clients::set_keepalive))
        .route("/routes", get(messages::routes))
        .route("/routes/{topic}", get(messages::route))
        .route("/mqtt/publish", post(messages::publish))
        .route("/mqtt/publish_batch", post(messages::publish_many))
        .route("/mqtt/subscribe", post(messages::subscribe))
        .route("/mqtt/subscribe_batch", post(messages::subscribe_many))
        .route("/mqtt/unsubscribe", post(messages::unsubscribe))
        .route("/mqtt/unsubscribe_batch", post(messages::unsubscribe_many))
        .route("/listeners/{id}/restart", put(operation::restart_listener))
        .route("/banned", get(operation::banned).post(operation::ban))
        .route("/banned/{as}/{who}", delete(operation::unban))
        .route("/alarms/present", get(operation::activated))
        .route("/alarms/history", get(operation::deactivated))
        .route("/acl-cache", delete(clients::forget_all_acl))
        .route("/node/{node}/acl-cache", delete(clients::forget_all_acl));
    let everywhere = everywhere.merge(diagnosis());
    let alarms = post(operation::deactivate).delete(operation::forget_alarms);
    everywhere
        .merge(of_node.clone())
        .nest("/nodes/{node}", of_node)
        .route("/alarms/deactivated", alarms)
}

/// What operators look into.
fn diagnosis() -> Router<Arc<Context>> {
    let topics = get(diagnose::topics)
        .post(diagnose::count_topic)
        .put(diagnose::reset_topics)
        .delete(diagnose::forget_topics);
    let topic = get(diagnose::topic)
        .put(diagnose::reset_topics)
        .delete(diagnose::forget_topics);
    let slow = get(diagnose::slow).delete(diagnose::forget_slow);
    let traces = get(diagnose::traces)
        .post(diagnose::begin_trace)
        .delete(diagnose::forget_traces);
    Router::new()
        .route("/topic-metrics", topics)
        .route("/topic-metrics/{topic}", topic)
        .route("/slow_subscriptions", slow)
        .route("/trace", traces)
        .route("/trace/{name}", delete(diagnose::forget_trace))
        .route("/trace/{name}/stop", put(diagnose::stop_trace))
        .route("/trace/{name}/download", get(trace::download))
}

/// What EMQX 2 and 3 had for kicking clients.
pub fn older_routes() -> Router<Arc<Context>> {
    Router::new()
        .route("/api/v2/clients/{clientid}", delete(clients::kick_v2))
        .route("/api/v3/clients/{clientid}", delete(clients::kick_v2))
        .route("/api/v3/connections/{clientid}", delete(clients::kick))
        .route("/api/v3/connections", get(clients::list))
}

/// 404 for a node that is not this one.
fn no_node(node: &str) -> Failure {
    Failure::Status(ApiError::new(
        StatusCode::NOT_FOUND,
        "NOT_FOUND",
        format!("there is no node `{node}`"),
    ))
}
