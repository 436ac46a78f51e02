//! Traces: what single clients, topics or addresses do, in files.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::control::clock;
use crate::control::context::Context;
use crate::control::http::banned::Moment;
use crate::control::http::error::{ApiError, ErrorBody};
use crate::control::http::extract::{Body, Named, Params};
use crate::control::http::zip;
use crate::control::trace::record::{
    Formatter, Level, PayloadEncode, Status, TraceKind, TraceRecord,
};
use crate::control::trace::{self, TraceError};
use crate::mqtt::topic::TopicFilter;

/// Bytes of a name.
const NAME_LEN_MAX: usize = 256;
/// Bytes of a file's name.
const FILE_LEN_MAX: usize = 200;
/// Seconds of the longest trace.
const DURATION_S_MAX: u64 = 86_400;
/// Bytes of a payload that a trace may ask for.
const PAYLOAD_LIMIT_MAX: u32 = 1 << 20;
/// Bytes of a file in one answer, unless the request says otherwise.
const LOG_BYTES: usize = 1000;
/// Bytes of a file in one answer at most.
const LOG_BYTES_MAX: usize = 1 << 20;

/// The routes.
pub fn routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::new()
        .routes(routes!(list, create, delete_all))
        .routes(routes!(delete))
        .routes(routes!(stop))
        .routes(routes!(download))
        .routes(routes!(log_detail))
        .routes(routes!(log))
}

/// A trace to be made.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NewTrace {
    /// Its name: a letter, then letters, digits, `-` and `_`.
    name: String,
    /// What it looks for.
    r#type: TraceKind,
    /// The client id, for `clientid`.
    #[serde(default)]
    clientid: Option<String>,
    /// The filter, for `topic`.
    #[serde(default)]
    topic: Option<String>,
    /// The address, for `ip_address`.
    #[serde(default)]
    ip_address: Option<String>,
    /// When it begins: RFC 3339 or seconds; now unless given.
    #[serde(default)]
    start_at: Option<Moment>,
    /// When it ends: RFC 3339 or seconds; ten minutes (`trace.default_duration`) later unless given, and
    /// a day later at most.
    #[serde(default)]
    end_at: Option<Moment>,
    /// How payloads are written.
    #[serde(default)]
    payload_encode: PayloadEncode,
    /// Bytes of a payload that are written; `trace.payload_limit` unless given.
    #[serde(default)]
    payload_limit: Option<u32>,
    /// The shape of its lines.
    #[serde(default)]
    formatter: Formatter,
    /// Events that are less severe are left out.
    #[serde(default)]
    level: Level,
    /// Name of its file in `trace/` of the data directory; made from its own unless given.
    #[serde(default)]
    file: Option<String>,
}

/// A trace.
#[derive(Debug, Serialize, ToSchema)]
pub struct Trace {
    /// Its name.
    name: String,
    /// What it looks for.
    r#type: TraceKind,
    /// The client id.
    #[serde(skip_serializing_if = "Option::is_none")]
    clientid: Option<String>,
    /// The filter.
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<String>,
    /// The address.
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_address: Option<String>,
    /// Where it is in its life.
    status: Status,
    /// Whether it is not over.
    enable: bool,
    /// When it begins.
    start_at: String,
    /// When it ends.
    end_at: String,
    /// How payloads are written.
    payload_encode: PayloadEncode,
    /// Bytes of a payload that are written.
    payload_limit: u32,
    /// The shape of its lines.
    formatter: Formatter,
    /// Events that are less severe are left out.
    level: Level,
    /// Bytes of its file, by node.
    log_size: BTreeMap<String, u64>,
    /// Its file, as the broker sees it.
    destination: String,
}

impl Trace {
    fn new(context: &Context, record: &TraceRecord) -> Self {
        let of = |kind| (record.kind == kind).then(|| record.of.clone());
        let status = record.status(clock::unix_s());
        let (bytes, _) = context.traces.file(record);
        Self {
            name: record.name.clone(),
            r#type: record.kind,
            clientid: of(TraceKind::Clientid),
            topic: of(TraceKind::Topic),
            ip_address: of(TraceKind::IpAddress),
            status,
            enable: status != Status::Stopped,
            start_at: clock::rfc3339(record.start_s),
            end_at: clock::rfc3339(record.end_s),
            payload_encode: record.payload_encode,
            payload_limit: record.payload_limit,
            formatter: record.formatter,
            level: record.level,
            log_size: BTreeMap::from([(context.node().to_owned(), bytes)]),
            destination: context.traces.path(record).display().to_string(),
        }
    }
}

/// A name that stands for a file as well: it cannot leave its folder.
fn is_name(text: &str) -> bool {
    let ok = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    text.len() <= NAME_LEN_MAX
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(ok)
}

fn is_file_name(text: &str) -> bool {
    let ok = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    !text.is_empty() && text.len() <= FILE_LEN_MAX && !text.starts_with('.') && text.chars().all(ok)
}

impl NewTrace {
    /// Whom it names.
    fn named(&self) -> Result<String, ApiError> {
        let (of, valid) = match self.r#type {
            TraceKind::Clientid => (&self.clientid, true),
            TraceKind::Topic => {
                let valid = |topic: &String| TopicFilter::new(topic).is_ok();
                (&self.topic, self.topic.as_ref().is_none_or(valid))
            }
            TraceKind::IpAddress => {
                let valid = |ip: &String| ip.parse::<std::net::IpAddr>().is_ok();
                (&self.ip_address, self.ip_address.as_ref().is_none_or(valid))
            }
        };
        let word = self.r#type.word();
        let of = of.as_ref().filter(|of| !of.is_empty());
        let of = of.ok_or_else(|| ApiError::bad_request(format!("`{word}` is missing")))?;
        match valid {
            true => Ok(of.clone()),
            false => Err(ApiError::bad_request(format!("`{of}` is no {word}"))),
        }
    }

    fn checked(self, context: &Context) -> Result<TraceRecord, ApiError> {
        if !is_name(&self.name) {
            return Err(ApiError::bad_request(format!(
                "a name is a letter and up to {NAME_LEN_MAX} letters, digits, `-` and `_`"
            )));
        }
        let of = self.named()?;
        let moment = |moment: &Option<Moment>| match moment {
            Some(moment) => moment.seconds(),
            None => Ok(None),
        };
        let settings = &context.config.observe.trace;
        let now_s = clock::unix_s();
        let start_s = moment(&self.start_at)?.unwrap_or(now_s).max(now_s);
        let default = settings.default_duration.as_secs();
        let end_s = moment(&self.end_at)?.unwrap_or(start_s.saturating_add(default));
        if end_s <= start_s || end_s - start_s > DURATION_S_MAX {
            return Err(ApiError::bad_request(
                "`end_at` is after `start_at` and after now, by a day at most",
            ));
        }
        let payload_limit = self.payload_limit.unwrap_or(settings.payload_limit);
        if payload_limit > PAYLOAD_LIMIT_MAX {
            return Err(ApiError::bad_request(format!(
                "`payload_limit` is {PAYLOAD_LIMIT_MAX} at most"
            )));
        }
        let date = clock::plain(start_s).replace([' ', ':'], "-");
        let file = format!("trace_{}_{date}.log", self.name);
        let file = self.file.unwrap_or(file);
        // Names that are too long for a file get one of the moment alone.
        let file = match file.len() > FILE_LEN_MAX && file.starts_with("trace_") {
            true => format!("trace_{date}.log"),
            false => file,
        };
        if !is_file_name(&file) {
            return Err(ApiError::bad_request(format!(
                "`{file}` is no name of a file: letters, digits, `-`, `_` and `.`"
            )));
        }
        Ok(TraceRecord {
            name: self.name,
            kind: self.r#type,
            of,
            start_s,
            end_s,
            stopped: false,
            payload_encode: self.payload_encode,
            payload_limit,
            formatter: self.formatter,
            level: self.level,
            file,
        })
    }
}

impl From<TraceError> for ApiError {
    fn from(error: TraceError) -> Self {
        let conflict = |code, message: String| Self::new(StatusCode::CONFLICT, code, message);
        match error {
            TraceError::Exists => {
                conflict("ALREADY_EXISTS", "there is a trace of that name".to_owned())
            }
            TraceError::Duplicate(name) => conflict(
                "DUPLICATE_CONDITION",
                format!("the trace `{name}` looks for the same"),
            ),
            TraceError::TooMany(most) => Self::new(
                StatusCode::BAD_REQUEST,
                "EXCEED_LIMIT",
                format!("there are {most} traces already, which is the limit; delete some"),
            ),
            TraceError::Unknown => Self::not_found("there is no such trace"),
            TraceError::File(what) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "INTERNAL_ERROR",
                format!("the file of the trace cannot be written: {what}"),
            ),
            TraceError::State(error) => error.into(),
            TraceError::Unanswered => crate::control::cores::Unanswered.into(),
        }
    }
}

/// Traces
///
/// The latest first.
#[utoipa::path(
    get, path = "/trace", tag = "Trace",
    responses((status = 200, body = Vec<Trace>), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody)),
)]
pub async fn list(State(context): State<Arc<Context>>) -> Json<Vec<Trace>> {
    let mut records = context.state.traces.all();
    records.sort_by_key(|(_, record)| std::cmp::Reverse(record.start_s));
    let shown = records.iter().map(|(_, r)| Trace::new(&context, r));
    Json(shown.collect())
}

/// Trace a client, a topic or an address
///
/// There may be 30 traces (`trace.max_traces`). A trace ends when its time is over, when it is stopped,
/// or when its file is full (`trace.max_file_size`). What comes faster than it can be written is
/// counted, and the trace says how much that was.
#[utoipa::path(
    post, path = "/trace", tag = "Trace", request_body = NewTrace,
    responses(
        (status = 200, body = Trace), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 409, description = "there is one of that name, or one that looks for the same",
            body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 503, body = ErrorBody),
    ),
)]
pub async fn create(
    State(context): State<Arc<Context>>,
    Body(trace): Body<NewTrace>,
) -> Result<Json<Trace>, ApiError> {
    let record = trace.checked(&context)?;
    trace::create(&context, record.clone()).await?;
    Ok(Json(Trace::new(&context, &record)))
}

/// Forget all traces and their files
#[utoipa::path(
    delete, path = "/trace", tag = "Trace",
    responses((status = 204, description = "they are gone"), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 503, body = ErrorBody)),
)]
pub async fn delete_all(State(context): State<Arc<Context>>) -> Result<StatusCode, ApiError> {
    trace::delete_all(&context).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Forget a trace and its file
#[utoipa::path(
    delete, path = "/trace/{name}", tag = "Trace",
    params(("name" = String, Path, description = "its name")),
    responses((status = 204, description = "it is gone"), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 503, body = ErrorBody)),
)]
pub async fn delete(
    State(context): State<Arc<Context>>,
    Named(name): Named<String>,
) -> Result<StatusCode, ApiError> {
    trace::delete(&context, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End a trace
///
/// Its file stays until the trace is deleted.
#[utoipa::path(
    put, path = "/trace/{name}/stop", tag = "Trace",
    params(("name" = String, Path, description = "its name")),
    responses((status = 200, body = Trace), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 503, body = ErrorBody)),
)]
pub async fn stop(
    State(context): State<Arc<Context>>,
    Named(name): Named<String>,
) -> Result<Json<Trace>, ApiError> {
    let record = trace::stop(&context, &name).await?;
    Ok(Json(Trace::new(&context, &record)))
}

/// The trace; the node, if the query names one, must be this one.
fn record_of(context: &Context, name: &str, params: &Params) -> Result<TraceRecord, ApiError> {
    if let Some(node) = params.text("node").filter(|node| *node != context.node()) {
        return Err(ApiError::not_found(format!("there is no node `{node}`")));
    }
    let record = context.state.traces.get(name);
    Ok(record.ok_or(TraceError::Unknown)?)
}

/// The file of a trace
///
/// As a ZIP archive.
#[utoipa::path(
    get, path = "/trace/{name}/download", tag = "Trace",
    params(
        ("name" = String, Path, description = "its name"),
        ("node" = Option<String>, Query, description = "the node; there is one only"),
    ),
    responses(
        (status = 200, description = "the archive",
            content((Vec<u8> = "application/octet-stream"))),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
    ),
)]
pub async fn download(
    State(context): State<Arc<Context>>,
    Named(name): Named<String>,
    params: Params,
) -> Result<Response, ApiError> {
    let record = record_of(&context, &name, &params)?;
    let path = context.traces.path(&record);
    let inside = format!("{}_{}", context.node(), record.file);
    let made = tokio::task::spawn_blocking(move || zip::of(&path, &inside)).await;
    let archive = made.ok().and_then(Result::ok);
    let archive = archive.ok_or_else(|| ApiError::not_found("the trace has no file yet"))?;
    let file = format!("attachment; filename=\"{name}.zip\"");
    let headers = [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (CONTENT_DISPOSITION, file),
    ];
    Ok((headers, archive).into_response())
}

/// The files of a trace
#[utoipa::path(
    get, path = "/trace/{name}/log_detail", tag = "Trace",
    params(("name" = String, Path, description = "its name")),
    responses(
        (status = 200, description = "by node: `size` in bytes, `mtime` in seconds of UNIX time",
            body = Vec<Value>),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
    ),
)]
pub async fn log_detail(
    State(context): State<Arc<Context>>,
    Named(name): Named<String>,
) -> Result<Json<Vec<Value>>, ApiError> {
    let record = record_of(&context, &name, &Params::default())?;
    let (size, mtime) = context.traces.file(&record);
    let row = json!({ "node": context.node(), "size": size, "mtime": mtime });
    Ok(Json(vec![row]))
}

/// A part of a trace's file.
#[derive(Debug, Serialize, ToSchema)]
pub struct Part {
    /// The text.
    items: String,
    /// Where it goes on.
    meta: PartMeta,
}

/// Where the next part begins.
#[derive(Debug, Serialize, ToSchema)]
pub struct PartMeta {
    /// The byte behind this part.
    position: u64,
    /// Bytes that were asked for.
    bytes: usize,
}

/// A part of a trace's file
///
/// Asked again with the position of the answer, it shows what was written meanwhile.
#[utoipa::path(
    get, path = "/trace/{name}/log", tag = "Trace",
    params(
        ("name" = String, Path, description = "its name"),
        ("position" = Option<u64>, Query, description = "the first byte; 0 unless given"),
        ("bytes" = Option<usize>, Query, description = "bytes at most, 1 to 1048576; 1000 unless given"),
        ("node" = Option<String>, Query, description = "the node; there is one only"),
    ),
    responses(
        (status = 200, body = Part), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
    ),
)]
pub async fn log(
    State(context): State<Arc<Context>>,
    Named(name): Named<String>,
    params: Params,
) -> Result<Json<Part>, ApiError> {
    let record = record_of(&context, &name, &params)?;
    let position = params.parsed("position")?.unwrap_or(0);
    let bytes = params.parsed("bytes")?.unwrap_or(LOG_BYTES);
    if bytes == 0 || bytes > LOG_BYTES_MAX {
        return Err(ApiError::parameter(format!(
            "`bytes` is 1 to {LOG_BYTES_MAX}"
        )));
    }
    let path = context.traces.path(&record);
    let read = tokio::task::spawn_blocking(move || part_of(&path, position, bytes)).await;
    let items = read.unwrap_or_default();
    let meta = PartMeta {
        position: position.saturating_add(items.len() as u64),
        bytes,
    };
    Ok(Json(Part { items, meta }))
}

/// Up to so many bytes of a file from a place on, as text that ends with a whole character; nothing of a
/// file that is not there, or behind its end.
fn part_of(path: &Path, position: u64, bytes: usize) -> String {
    let mut part = Vec::new();
    let read = std::fs::File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(position))?;
        file.take(bytes as u64).read_to_end(&mut part)
    });
    if read.is_err() {
        return String::new();
    }
    match String::from_utf8(part) {
        Ok(text) => text,
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let mut part = error.into_bytes();
            // A part that begins or is within a character has none whole: then what it has is replaced.
            if valid > 0 {
                part.truncate(valid);
            }
            let replaced = String::from_utf8_lossy(&part);
            // As long as the bytes it stands for, so that the position is right.
            match valid > 0 {
                true => replaced.into_owned(),
                false => "?".repeat(part.len()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_folder() {
        assert!(is_name("a") && is_name("A-b_9"));
        for name in ["", "9a", "a/b", "a.b", "../a", "a b", "\u{e4}"] {
            assert!(!is_name(name), "{name}");
        }
        assert!(!is_name(&"a".repeat(NAME_LEN_MAX + 1)));
        assert!(is_file_name("c2.log") && is_file_name("trace_topic.log"));
        for name in ["", ".", "..", ".hidden", "a/b", "a\0"] {
            assert!(!is_file_name(name), "{name}");
        }
    }

    #[test]
    fn parts_are_whole_characters_and_follow_one_another() {
        let path = std::env::temp_dir().join(format!("millrace-part-{}", std::process::id()));
        let text = "a\u{e4}\u{1f600}b";
        std::fs::write(&path, text).unwrap();
        assert_eq!(part_of(&path, 0, 100), text);
        assert_eq!(part_of(&path, 0, 2), "a");
        assert_eq!(part_of(&path, 1, 5), "\u{e4}");
        assert_eq!(part_of(&path, 3, 2), "??");
        assert_eq!(part_of(&path, 100, 5), "");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(part_of(&path, 0, 5), "");
    }
}
