//! Errors of the API: a status code, and a body with EMQX's words.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::control::cores::Unanswered;
use crate::control::state::StateError;

/// The body of an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ErrorBody {
    /// For programs; all are listed at `/api/v5/error_codes`.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// Why a request was not answered as wished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The status code.
    pub status: StatusCode,
    /// What is said.
    pub body: ErrorBody,
}

/// Every code with what it means.
pub const CODES: &[(&str, &str)] = &[
    ("ALREADY_EXISTS", "there is one of that name"),
    (
        "BAD_API_KEY_OR_SECRET",
        "the API key or its secret is wrong",
    ),
    ("BAD_REQUEST", "the request is not what this endpoint takes"),
    ("BAD_TOPIC", "the topic is not valid"),
    (
        "BAD_USERNAME_OR_PWD",
        "the user name or the password is wrong",
    ),
    ("CLIENTID_NOT_FOUND", "there is no such client"),
    (
        "CROSS_SITE",
        "the request comes from a page of another site",
    ),
    (
        "DUPLICATE_CONDITION",
        "another trace that has not ended looks for the same",
    ),
    ("EXCEED_LIMIT", "a limit is reached"),
    ("INTERNAL_ERROR", "the broker failed"),
    ("INVALID_PARAMETER", "a parameter is not what it may be"),
    ("LOGIN_LOCKED", "too many wrong logins; try again later"),
    (
        "MESSAGE_ID_NOT_FOUND",
        "there is no delayed message of that id",
    ),
    (
        "MESSAGE_ID_SCHEMA_ERROR",
        "that is no id of a delayed message",
    ),
    ("METHOD_NOT_ALLOWED", "this path does not take that method"),
    ("NOT_ALLOWED", "your role does not allow this"),
    ("NOT_FOUND", "there is no such thing"),
    ("PAYLOAD_TOO_LARGE", "the body is larger than 1 MiB"),
    ("SERVICE_UNAVAILABLE", "a core does not answer; try again"),
    ("TOPIC_NOT_FOUND", "the topic is not counted"),
    ("UNAUTHORIZED", "who are you?"),
];

impl ApiError {
    /// An error; the code must be one of [`CODES`].
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        debug_assert!(CODES.iter().any(|(known, _)| *known == code), "{code}");
        Self {
            status,
            body: ErrorBody {
                code,
                message: message.into(),
            },
        }
    }

    /// 400: the request is wrong.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
    }

    /// 400: a parameter is wrong.
    pub fn parameter(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "INVALID_PARAMETER", message)
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", message)
    }

    /// 404: no such client.
    pub fn no_client(client_id: &str) -> Self {
        let message = format!("there is no client `{client_id}`");
        Self::new(StatusCode::NOT_FOUND, "CLIENTID_NOT_FOUND", message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let soon = axum::http::HeaderValue::from_static("1");
            response.headers_mut().insert("retry-after", soon);
        }
        response
    }
}

impl From<Unanswered> for ApiError {
    fn from(_: Unanswered) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(
            status,
            "SERVICE_UNAVAILABLE",
            "a core does not answer in time",
        )
    }
}

impl From<StateError> for ApiError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Full(_) => {
                Self::new(StatusCode::BAD_REQUEST, "EXCEED_LIMIT", error.to_string())
            }
            StateError::Store(_) => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Self::new(status, "INTERNAL_ERROR", error.to_string())
            }
        }
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return Self::new(
                rejection.status(),
                "PAYLOAD_TOO_LARGE",
                "the body is larger than 1 MiB",
            );
        }
        Self::bad_request(rejection.body_text())
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}
