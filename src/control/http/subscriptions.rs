//! Subscriptions: of one client, of all; subscribing and unsubscribing in a client's place; topics.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use compact_str::CompactString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::base::ids::CoreId;
use crate::control::context::Context;
use crate::control::http::error::{ApiError, ErrorBody};
use crate::control::http::extract::{Body, LIMIT_MAX, Listed, Named, Params};
use crate::control::http::pages::page_of;
use crate::gate::manage::{Manage, SubscriptionQuery, SubscriptionRow};
use crate::metrics::Gauge;
use crate::mqtt::decode_subscribe::{RetainHandling, SubscribeOptions};
use crate::mqtt::qos::QoS;
use crate::mqtt::topic::{SharedFilter, TopicName};

/// Filters of one request.
pub const FILTERS_MAX: usize = 1_000;

/// One subscription.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Subscription {
    /// The broker of its client.
    pub node: String,
    /// Its client.
    pub clientid: String,
    /// The filter as the client wrote it.
    pub topic: String,
    /// Granted QoS.
    pub qos: u8,
    /// No local, 0 or 1.
    pub nl: u8,
    /// Retain as published, 0 or 1.
    pub rap: u8,
    /// Retain handling, 0 to 2.
    pub rh: u8,
    /// Subscription identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subid: Option<u32>,
    /// Whether the session outlives the connection.
    pub durable: bool,
}

impl Subscription {
    /// What the API says of a subscription.
    pub fn new(context: &Context, row: &SubscriptionRow) -> Self {
        Self {
            node: context.node().to_owned(),
            clientid: row.client_id.to_string(),
            topic: row.filter.clone(),
            qos: row.options.qos.as_u8(),
            nl: u8::from(row.options.no_local),
            rap: u8::from(row.options.retain_as_published),
            rh: row.options.retain_handling as u8,
            subid: row.identifier,
            durable: row.durable,
        }
    }
}

/// The routes.
pub fn routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(of_client))
        .routes(routes!(subscribe))
        .routes(routes!(subscribe_many))
        .routes(routes!(unsubscribe))
        .routes(routes!(unsubscribe_many))
        .routes(routes!(topics))
        .routes(routes!(topic))
}

/// Which subscriptions a query means; `match_topic` is the name of that parameter.
///
/// # Errors
/// A value is not what it may be.
pub fn query_of(params: &Params, match_topic: &str) -> Result<SubscriptionQuery, ApiError> {
    let own = |name: &str| params.text(name).map(str::to_owned);
    let qos = |text: &str| text.parse().ok().and_then(QoS::from_u8);
    let topic = |text: &str| {
        TopicName::new(text)
            .ok()
            .map(|name| name.as_str().to_owned())
    };
    let (mut group, mut filter) = (own("share_group").or_else(|| own("share")), own("topic"));
    if let Some(full) = filter.clone()
        && let Ok(shared) = SharedFilter::parse(&full)
        && shared.group.is_some()
    {
        group = shared.group.map(str::to_owned);
        filter = Some(shared.filter.as_str().to_owned());
    }
    Ok(SubscriptionQuery {
        filter,
        match_topic: params.read(match_topic, topic)?,
        qos: params.read("qos", qos)?,
        group,
    })
}

/// Subscriptions
#[utoipa::path(
    get, path = "/subscriptions", tag = "Subscriptions",
    params(
        ("page" = Option<usize>, Query, description = "from 1"),
        ("limit" = Option<usize>, Query, description = "entries of a page, 1 to 10000; 100 unless given"),
        ("clientid" = Option<String>, Query, description = "of this client"),
        ("topic" = Option<String>, Query, description = "exactly this filter"),
        ("match_topic" = Option<String>, Query, description = "filters that match this topic"),
        ("qos" = Option<u8>, Query, description = "granted QoS"),
        ("share_group" = Option<String>, Query, description = "shared subscriptions of this group"),
    ),
    responses(
        (status = 200, description = "a page; `meta.count` only without filters", body = Listed<Subscription>),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 503, body = ErrorBody),
    ),
)]
pub async fn list(
    State(context): State<Arc<Context>>,
    params: Params,
) -> Result<Json<Listed<Subscription>>, ApiError> {
    let paging = params.paging("")?;
    let query = query_of(&params, "match_topic")?;
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
    let rows = rows
        .iter()
        .map(|row| Subscription::new(&context, row))
        .collect();
    Ok(Json(paging.listed(rows, count, hasnext)))
}

/// All subscriptions of a client, up to the most that one answer holds; nothing if there is no such
/// client.
///
/// # Errors
/// Its core does not answer.
pub async fn all_of(
    context: &Context,
    client_id: &str,
) -> Result<Option<Vec<SubscriptionRow>>, ApiError> {
    let home = context.cores.home_of_client(client_id);
    let (mut rows, mut seen, mut from) = (Vec::new(), BTreeSet::new(), 0);
    loop {
        let client_id = client_id.into();
        let step = |reply| Manage::SubscriptionsOf {
            client_id,
            from,
            max: LIMIT_MAX,
            reply,
        };
        let Some(page) = context.cores.ask(home, step).await? else {
            return Ok((from > 0).then_some(rows));
        };
        // Where the walk had to begin again, what was seen comes a second time.
        let new = page
            .rows
            .into_iter()
            .filter(|row| seen.insert(row.filter.clone()));
        rows.extend(new);
        match page.next {
            Some(next) if rows.len() < LIMIT_MAX => from = next,
            _ => return Ok(Some(rows)),
        }
    }
}

/// Subscriptions of a client
#[utoipa::path(
    get, path = "/clients/{clientid}/subscriptions", tag = "Clients",
    params(("clientid" = String, Path, description = "its id")),
    responses(
        (status = 200, body = Vec<Subscription>), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 503, body = ErrorBody),
    ),
)]
pub async fn of_client(
    State(context): State<Arc<Context>>,
    Named(client_id): Named<String>,
) -> Result<Json<Vec<Subscription>>, ApiError> {
    let rows = all_of(&context, &client_id).await?;
    let rows = rows.ok_or_else(|| ApiError::no_client(&client_id))?;
    Ok(Json(
        rows.iter()
            .map(|row| Subscription::new(&context, row))
            .collect(),
    ))
}

/// What a client is to be subscribed to.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct Wanted {
    /// The filter, with `$share/<group>/` if it is to be shared.
    pub topic: String,
    /// 0 to 2.
    #[serde(default)]
    #[schema(maximum = 2)]
    pub qos: u8,
    /// No local, 0 or 1.
    #[serde(default)]
    #[schema(maximum = 1)]
    pub nl: u8,
    /// Retain as published, 0 or 1.
    #[serde(default)]
    #[schema(maximum = 1)]
    pub rap: u8,
    /// Retain handling, 0 to 2.
    #[serde(default)]
    #[schema(maximum = 2)]
    pub rh: u8,
}

impl Wanted {
    fn checked(&self) -> Result<(CompactString, SubscribeOptions), ApiError> {
        let wrong = |name: &str| ApiError::bad_request(format!("`{name}` is out of its range"));
        check_filter(&self.topic)?;
        let flag = |value: u8, name: &str| match value {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(wrong(name)),
        };
        let options = SubscribeOptions {
            qos: QoS::from_u8(self.qos).ok_or_else(|| wrong("qos"))?,
            no_local: flag(self.nl, "nl")?,
            retain_as_published: flag(self.rap, "rap")?,
            retain_handling: match self.rh {
                0 => RetainHandling::SendAlways,
                1 => RetainHandling::SendIfNew,
                2 => RetainHandling::DoNotSend,
                _ => return Err(wrong("rh")),
            },
        };
        if options.no_local && crate::mqtt::topic::is_shared(&self.topic) {
            return Err(ApiError::bad_request("a shared subscription has no `nl`"));
        }
        Ok((self.topic.as_str().into(), options))
    }
}

fn check_filter(filter: &str) -> Result<(), ApiError> {
    match SharedFilter::parse(filter) {
        Ok(_) => Ok(()),
        Err(error) => {
            let message = format!("`{filter}` is no valid filter: {}", error.rule);
            Err(ApiError::new(StatusCode::BAD_REQUEST, "BAD_TOPIC", message))
        }
    }
}

/// Subscribes a client; the granted QoS or the reason of the refusal for each filter. Nothing if it is
/// not connected.
///
/// # Errors
/// A filter is not valid, or the core does not answer.
pub async fn subscribe_client(
    context: &Context,
    client_id: &str,
    wanted: &[Wanted],
) -> Result<Option<Vec<u8>>, ApiError> {
    if wanted.is_empty() || wanted.len() > FILTERS_MAX {
        return Err(ApiError::bad_request(format!(
            "1 to {FILTERS_MAX} filters can be given"
        )));
    }
    let filters = wanted
        .iter()
        .map(Wanted::checked)
        .collect::<Result<_, _>>()?;
    let home = context.cores.home_of_client(client_id);
    let client_id = client_id.into();
    let step = |reply| Manage::Subscribe {
        client_id,
        filters,
        reply,
    };
    Ok(context.cores.ask(home, step).await?)
}

/// Ends subscriptions of a client; for each filter whether there was one. Nothing if there is no such
/// client.
///
/// # Errors
/// Too many filters, or the core does not answer.
pub async fn unsubscribe_client(
    context: &Context,
    client_id: &str,
    filters: &[String],
) -> Result<Option<Vec<bool>>, ApiError> {
    if filters.is_empty() || filters.len() > FILTERS_MAX {
        return Err(ApiError::bad_request(format!(
            "1 to {FILTERS_MAX} filters can be given"
        )));
    }
    for filter in filters {
        check_filter(filter)?;
    }
    let home = context.cores.home_of_client(client_id);
    let client_id = client_id.into();
    let filters = filters.iter().map(Into::into).collect();
    let step = |reply| Manage::Unsubscribe {
        client_id,
        filters,
        reply,
    };
    Ok(context.cores.ask(home, step).await?)
}

/// The subscriptions that were granted; an error if one was refused.
fn granted(
    context: &Context,
    client_id: &str,
    wanted: &[Wanted],
    reasons: &[u8],
) -> Result<Vec<Subscription>, ApiError> {
    let mut all = Vec::new();
    for (wanted, reason) in wanted.iter().zip(reasons) {
        if *reason > 2 {
            let message = format!("`{}` was refused with reason {reason:#04x}", wanted.topic);
            return Err(ApiError::bad_request(message));
        }
        all.push(Subscription {
            node: context.node().to_owned(),
            clientid: client_id.to_owned(),
            topic: wanted.topic.clone(),
            qos: *reason,
            nl: wanted.nl,
            rap: wanted.rap,
            rh: wanted.rh,
            subid: None,
            durable: false,
        });
    }
    Ok(all)
}

/// Subscribe a client
///
/// The client must be connected. It is not asked.
#[utoipa::path(
    post, path = "/clients/{clientid}/subscribe", tag = "Clients", request_body = Wanted,
    params(("clientid" = String, Path, description = "its id")),
    responses(
        (status = 200, body = Subscription), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 413, body = ErrorBody),
        (status = 503, body = ErrorBody),
    ),
)]
pub async fn subscribe(
    State(context): State<Arc<Context>>,
    Named(client_id): Named<String>,
    Body(wanted): Body<Wanted>,
) -> Result<Json<Subscription>, ApiError> {
    let wanted = [wanted];
    let reasons = subscribe_client(&context, &client_id, &wanted).await?;
    let reasons = reasons.ok_or_else(|| ApiError::no_client(&client_id))?;
    let mut all = granted(&context, &client_id, &wanted, &reasons)?;
    all.pop()
        .map(Json)
        .ok_or_else(|| ApiError::no_client(&client_id))
}

/// Subscribe a client to several topics
#[utoipa::path(
    post, path = "/clients/{clientid}/subscribe/bulk", tag = "Clients", request_body = Vec<Wanted>,
    params(("clientid" = String, Path, description = "its id")),
    responses(
        (status = 200, body = Vec<Subscription>), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 413, body = ErrorBody),
        (status = 503, body = ErrorBody),
    ),
)]
pub async fn subscribe_many(
    State(context): State<Arc<Context>>,
    Named(client_id): Named<String>,
    Body(wanted): Body<Vec<Wanted>>,
) -> Result<Json<Vec<Subscription>>, ApiError> {
    let reasons = subscribe_client(&context, &client_id, &wanted).await?;
    let reasons = reasons.ok_or_else(|| ApiError::no_client(&client_id))?;
    Ok(Json(granted(&context, &client_id, &wanted, &reasons)?))
}

/// A filter that a client is to be unsubscribed from.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Unwanted {
    /// The filter as it was subscribed to.
    topic: String,
}

/// Unsubscribe a client
#[utoipa::path(
    post, path = "/clients/{clientid}/unsubscribe", tag = "Clients", request_body = Unwanted,
    params(("clientid" = String, Path, description = "its id")),
    responses(
        (status = 204, description = "there is no such subscription (any more)"),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 503, body = ErrorBody),
    ),
)]
pub async fn unsubscribe(
    State(context): State<Arc<Context>>,
    Named(client_id): Named<String>,
    Body(unwanted): Body<Unwanted>,
) -> Result<StatusCode, ApiError> {
    end_all(&context, &client_id, &[unwanted.topic]).await
}

/// Unsubscribe a client from several topics
#[utoipa::path(
    post, path = "/clients/{clientid}/unsubscribe/bulk", tag = "Clients",
    request_body = Vec<Unwanted>,
    params(("clientid" = String, Path, description = "its id")),
    responses(
        (status = 204, description = "there are no such subscriptions (any more)"),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 413, body = ErrorBody), (status = 503, body = ErrorBody),
    ),
)]
pub async fn unsubscribe_many(
    State(context): State<Arc<Context>>,
    Named(client_id): Named<String>,
    Body(unwanted): Body<Vec<Unwanted>>,
) -> Result<StatusCode, ApiError> {
    let filters: Vec<String> = unwanted.into_iter().map(|one| one.topic).collect();
    end_all(&context, &client_id, &filters).await
}

async fn end_all(
    context: &Context,
    client_id: &str,
    filters: &[String],
) -> Result<StatusCode, ApiError> {
    let ended = unsubscribe_client(context, client_id, filters).await?;
    ended.ok_or_else(|| ApiError::no_client(client_id))?;
    Ok(StatusCode::NO_CONTENT)
}

/// A filter that someone has subscribed to.
#[derive(Debug, Serialize, ToSchema)]
pub struct Topic {
    /// The filter, without the prefix of a shared subscription.
    topic: String,
    /// Where someone has.
    node: String,
}

impl Topic {
    /// A filter of this broker.
    pub fn new(context: &Context, topic: String) -> Self {
        Self {
            topic,
            node: context.node().to_owned(),
        }
    }
}

/// Topics
///
/// The filters that someone has subscribed to, each once.
#[utoipa::path(
    get, path = "/topics", tag = "Topics",
    params(
        ("page" = Option<usize>, Query, description = "from 1"),
        ("limit" = Option<usize>, Query, description = "entries of a page, 1 to 10000; 100 unless given"),
        ("topic" = Option<String>, Query, description = "exactly this filter"),
    ),
    responses(
        (status = 200, body = Listed<Topic>), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 503, body = ErrorBody),
    ),
)]
pub async fn topics(
    State(context): State<Arc<Context>>,
    params: Params,
) -> Result<Json<Listed<Topic>>, ApiError> {
    let paging = params.paging("")?;
    if let Some(filter) = params.text("topic") {
        let found = is_wanted(&context, filter).await?;
        let all = found.then(|| Topic::new(&context, filter.to_owned()));
        return Ok(Json(paging.cut(all.into_iter().collect())));
    }
    let step = |from, max, reply| Manage::Topics { from, max, reply };
    let (rows, hasnext) = page_of(&context, "topics", &params, paging, step).await?;
    let count = context.metrics.gauge(Gauge::Topics);
    let rows = rows
        .into_iter()
        .map(|filter| Topic::new(&context, filter))
        .collect();
    Ok(Json(paging.listed(rows, Some(count), hasnext)))
}

/// Whether someone has subscribed to exactly this filter.
///
/// # Errors
/// The core does not answer.
pub async fn is_wanted(context: &Context, filter: &str) -> Result<bool, ApiError> {
    let filter = filter.to_owned();
    // Every core sees the whole index.
    let any = CoreId(0);
    Ok(context
        .cores
        .ask(any, |reply| Manage::Topic { filter, reply })
        .await?)
}

/// One topic
///
/// Whether someone has subscribed to this filter. In the path it is percent-encoded.
#[utoipa::path(
    get, path = "/topics/{topic}", tag = "Topics",
    params(("topic" = String, Path, description = "the filter")),
    responses(
        (status = 200, body = Vec<Topic>), (status = 400, body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 503, body = ErrorBody),
    ),
)]
pub async fn topic(
    State(context): State<Arc<Context>>,
    Named(filter): Named<String>,
) -> Result<Json<Vec<Topic>>, ApiError> {
    match is_wanted(&context, &filter).await? {
        true => Ok(Json(vec![Topic::new(&context, filter)])),
        false => Err(ApiError::not_found(format!(
            "nobody has subscribed to `{filter}`"
        ))),
    }
}
