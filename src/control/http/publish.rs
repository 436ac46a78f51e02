//! Publishing: one message, or several in order.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::control::context::Context;
use crate::control::http::error::{ApiError, ErrorBody};
use crate::control::http::extract::Body;
use crate::gate::manage::{Manage, NewMessage, Published};
use crate::mqtt::property::{Property, encode_forwarded};
use crate::mqtt::qos::QoS;
use crate::mqtt::topic::TopicName;

/// Messages of one request.
pub const MESSAGES_MAX: usize = 10_000;
/// Bytes of a text in properties.
const TEXT_MAX: usize = 65_535;

/// The routes.
pub fn routes() -> OpenApiRouter<Arc<Context>> {
    OpenApiRouter::new()
        .routes(routes!(publish))
        .routes(routes!(publish_many))
}

/// A message.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct Publish {
    /// The topic.
    pub topic: String,
    /// The payload.
    pub payload: String,
    /// How the payload is written: `plain` or `base64`.
    #[serde(default, alias = "encoding")]
    pub payload_encoding: PayloadEncoding,
    /// 0 to 2.
    #[serde(default)]
    #[schema(maximum = 2)]
    pub qos: u8,
    /// Whether it is retained.
    #[serde(default)]
    pub retain: bool,
    /// In whose name it is published: its messages keep their order then.
    #[serde(default)]
    pub clientid: Option<String>,
    /// Properties of MQTT 5.
    #[serde(default)]
    pub properties: Properties,
}

/// How a payload is written in JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PayloadEncoding {
    /// As text.
    #[default]
    Plain,
    /// In base64.
    Base64,
}

/// Properties of MQTT 5.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct Properties {
    /// 1 if the payload is text.
    #[serde(default)]
    #[schema(maximum = 1)]
    pub payload_format_indicator: Option<u8>,
    /// Seconds until it expires.
    #[serde(default)]
    pub message_expiry_interval: Option<u32>,
    /// Where an answer is expected.
    #[serde(default)]
    pub response_topic: Option<String>,
    /// What goes with the answer.
    #[serde(default)]
    pub correlation_data: Option<String>,
    /// What the payload is.
    #[serde(default)]
    pub content_type: Option<String>,
    /// Names and texts.
    #[serde(default)]
    pub user_properties: BTreeMap<String, Value>,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Outcome {
    /// Its number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// MQTT's reason code, unless all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason_code: Option<u8>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<&'static str>,
}

impl Outcome {
    fn new(context: &Context, published: Published) -> (StatusCode, Self) {
        let (status, reason_code, message) = match published {
            Published::Sent => (StatusCode::OK, None, None),
            Published::NoSubscribers => (
                StatusCode::ACCEPTED,
                Some(16),
                Some("no_matching_subscribers"),
            ),
            Published::Refused => (
                StatusCode::BAD_REQUEST,
                Some(0x90),
                Some("topic_name_invalid"),
            ),
            Published::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                Some(0x97),
                Some("quota_exceeded"),
            ),
        };
        let went = matches!(published, Published::Sent | Published::NoSubscribers);
        let outcome = Self {
            id: went.then(|| context.next_message_id()),
            reason_code,
            message,
        };
        (status, outcome)
    }
}

impl Publish {
    /// The message, if it is one.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn checked(self, context: &Context) -> Result<NewMessage, ApiError> {
        if let Err(error) = TopicName::new(&self.topic) {
            let message = format!("`{}` is no valid topic: {}", self.topic, error.rule);
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "BAD_TOPIC", message));
        }
        let payload = match self.payload_encoding {
            PayloadEncoding::Plain => self.payload.into_bytes(),
            PayloadEncoding::Base64 => STANDARD
                .decode(&self.payload)
                .map_err(|error| ApiError::bad_request(format!("`payload`: {error}")))?,
        };
        if payload.len() > context.settings().mqtt.max_packet_size as usize {
            return Err(ApiError::bad_request(
                "the payload is larger than `mqtt.max_packet_size`",
            ));
        }
        let qos = QoS::from_u8(self.qos);
        Ok(NewMessage {
            topic: self.topic,
            payload,
            properties: self.properties.encoded()?,
            qos: qos.ok_or_else(|| ApiError::bad_request("`qos` is 0, 1 or 2"))?,
            retain: self.retain,
            expiry_s: self.properties.message_expiry_interval,
            client_id: self.clientid.filter(|id| !id.is_empty()).map(Into::into),
        })
    }
}

impl Properties {
    fn encoded(&self) -> Result<Vec<u8>, ApiError> {
        let user: Vec<(&str, String)> = self
            .user_properties
            .iter()
            .map(|(name, value)| {
                let text = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                (name.as_str(), text)
            })
            .collect();
        let texts = [
            &self.response_topic,
            &self.correlation_data,
            &self.content_type,
        ];
        let lengths = texts.into_iter().flatten().map(String::len);
        let mut lengths = lengths.chain(user.iter().flat_map(|(n, v)| [n.len(), v.len()]));
        if lengths.any(|len| len > TEXT_MAX) {
            return Err(ApiError::bad_request(
                "a property is longer than 65535 bytes",
            ));
        }
        if let Some(topic) = &self.response_topic
            && TopicName::new(topic).is_err()
        {
            return Err(ApiError::bad_request("`response_topic` is no valid topic"));
        }
        let mut all = Vec::new();
        match self.payload_format_indicator {
            None => {}
            Some(flag @ 0..=1) => all.push(Property::PayloadFormatIndicator(flag == 1)),
            Some(_) => {
                return Err(ApiError::bad_request(
                    "`payload_format_indicator` is 0 or 1",
                ));
            }
        }
        all.extend(self.response_topic.as_deref().map(Property::ResponseTopic));
        all.extend(self.content_type.as_deref().map(Property::ContentType));
        let data = self.correlation_data.as_deref().map(str::as_bytes);
        all.extend(data.map(Property::CorrelationData));
        all.extend(
            user.iter()
                .map(|(name, value)| Property::UserProperty(name, value)),
        );
        let mut encoded = Vec::new();
        encode_forwarded(&mut encoded, &all);
        Ok(encoded)
    }
}

/// Publishes on the home core of its client, or, without one, on that of its topic: so what one sends
/// keeps its order.
///
/// # Errors
/// The core does not answer.
pub async fn send(context: &Context, message: NewMessage) -> Result<Published, ApiError> {
    let core = match &message.client_id {
        Some(client_id) => context.cores.home_of_client(client_id),
        None => context.cores.home_of_topic(&message.topic),
    };
    let message = Box::new(message);
    let step = |reply| Manage::Publish { message, reply };
    Ok(context.cores.ask(core, step).await?)
}

/// Publish a message
#[utoipa::path(
    post, path = "/publish", tag = "Publish", request_body = Publish,
    responses(
        (status = 200, description = "on its way", body = Outcome),
        (status = 202, description = "nobody has subscribed to it", body = Outcome),
        (status = 400, description = "no message, or no topic that may be published to", body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 413, body = ErrorBody),
        (status = 503, description = "not taken; try again", body = ErrorBody),
    ),
)]
pub async fn publish(
    State(context): State<Arc<Context>>,
    Body(message): Body<Publish>,
) -> Result<Response, ApiError> {
    let message = message.checked(&context)?;
    let published = send(&context, message).await?;
    let (status, outcome) = Outcome::new(&context, published);
    if let (false, Some(why)) = (status.is_success(), outcome.message) {
        let code = match published {
            Published::Busy => "SERVICE_UNAVAILABLE",
            _ => "BAD_TOPIC",
        };
        return Err(ApiError::new(status, code, why));
    }
    Ok((status, Json(outcome)).into_response())
}

/// Publish several messages
///
/// In the order given; if one of them is no message, none is published.
#[utoipa::path(
    post, path = "/publish/bulk", tag = "Publish", request_body = Vec<Publish>,
    responses(
        (status = 200, description = "all on their way", body = Vec<Outcome>),
        (status = 202, description = "some have no subscriber", body = Vec<Outcome>),
        (status = 400, description = "some are no messages", body = ErrorBody),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 413, body = ErrorBody),
        (status = 503, description = "some were not taken", body = Vec<Outcome>),
    ),
)]
pub async fn publish_many(
    State(context): State<Arc<Context>>,
    Body(messages): Body<Vec<Publish>>,
) -> Result<Response, ApiError> {
    if messages.len() > MESSAGES_MAX {
        return Err(ApiError::bad_request(format!(
            "these are more than {MESSAGES_MAX} messages"
        )));
    }
    let mut checked = Vec::new();
    for (at, message) in messages.into_iter().enumerate() {
        checked.push(message.checked(&context).map_err(|error| {
            let said = format!("message {at}: {}", error.body.message);
            ApiError::new(error.status, error.body.code, said)
        })?);
    }
    let (mut worst, mut outcomes) = (StatusCode::OK, Vec::new());
    for message in checked {
        let published = send(&context, message).await?;
        let (status, outcome) = Outcome::new(&context, published);
        worst = worst.max(status);
        outcomes.push(outcome);
    }
    Ok((worst, Json(outcomes)).into_response())
}
