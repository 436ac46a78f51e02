//! Texts with placeholders: EMQX 5's `${username}` and EMQX 4's `%u`.

use crate::access::acl::{Action, Verb};
use crate::gate::authn::AuthnRequest;
use crate::mqtt::version::Version;

/// What a placeholder stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Variable {
    Username,
    ClientId,
    Password,
    PeerHost,
    PeerPort,
    Protocol,
    CertCommonName,
    CertSubject,
    Topic,
    Action,
    Qos,
    Retain,
    /// EMQX 4: 1 to subscribe, 2 to publish.
    Access,
}

/// What a client wants to do, for the placeholders of questions about access.
#[derive(Debug, Clone)]
pub(super) struct Wish<'a> {
    pub(super) action: Action,
    pub(super) topic: &'a str,
}

/// A text of letters and placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(Variable),
}

impl Variable {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "username" => Self::Username,
            "clientid" => Self::ClientId,
            "password" => Self::Password,
            "peerhost" | "ipaddress" => Self::PeerHost,
            "peerport" => Self::PeerPort,
            "protocol" | "proto_name" => Self::Protocol,
            "cert_common_name" => Self::CertCommonName,
            "cert_subject" => Self::CertSubject,
            "topic" => Self::Topic,
            "action" => Self::Action,
            "qos" => Self::Qos,
            "retain" => Self::Retain,
            _ => return None,
        })
    }

    fn lettered(letter: char) -> Option<Self> {
        Some(match letter {
            'u' => Self::Username,
            'c' => Self::ClientId,
            'P' => Self::Password,
            'a' => Self::PeerHost,
            'p' => Self::PeerPort,
            'r' => Self::Protocol,
            'C' => Self::CertCommonName,
            'd' => Self::CertSubject,
            't' => Self::Topic,
            'A' => Self::Access,
            _ => return None,
        })
    }

    /// Its value for a client; nothing if the client has none.
    pub(super) fn value(&self, client: &AuthnRequest, wish: Option<&Wish<'_>>) -> Option<String> {
        let names = client.peer_names.as_deref();
        match self {
            Self::Username => client.username.as_deref().map(str::to_owned),
            Self::ClientId => Some(client.client_id.to_string()),
            Self::Password => client.password.as_ref()?.text().map(str::to_owned),
            Self::PeerHost => Some(client.peer.ip().to_canonical().to_string()),
            Self::PeerPort => Some(client.peer.port().to_string()),
            Self::Protocol => Some(
                match client.version {
                    Version::V31 => "MQIsdp",
                    Version::V311 | Version::V5 => "MQTT",
                }
                .to_owned(),
            ),
            Self::CertCommonName => names?.common_name.as_deref().map(str::to_owned),
            Self::CertSubject => names?.subject.as_deref().map(str::to_owned),
            Self::Topic => Some(wish?.topic.to_owned()),
            Self::Qos => Some(wish?.action.qos.as_u8().to_string()),
            Self::Retain => Some(wish?.action.retain.to_string()),
            Self::Action => Some(
                match wish?.action.verb {
                    Verb::Publish => "publish",
                    Verb::Subscribe => "subscribe",
                }
                .to_owned(),
            ),
            Self::Access => Some(
                match wish?.action.verb {
                    Verb::Publish => "2",
                    Verb::Subscribe => "1",
                }
                .to_owned(),
            ),
        }
    }
}

impl Template {
    /// Reads a text.
    ///
    /// # Errors
    /// It names a placeholder that there is not.
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['$', '%']) {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            let Some((variable, len)) = read_variable(from)? else {
                let len = from.chars().next().map_or(0, char::len_utf8);
                plain.push_str(from.get(..len).unwrap_or_default());
                rest = from.get(len..).unwrap_or_default();
                continue;
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Variable(variable));
            rest = from.get(len..).unwrap_or_default();
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    /// The text for a client, each value passed through `escape`; nothing if a value is missing.
    pub(super) fn render(
        &self,
        client: &AuthnRequest,
        wish: Option<&Wish<'_>>,
        escape: impl Fn(&str) -> String,
    ) -> Option<String> {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Variable(variable) => out.push_str(&escape(&variable.value(client, wish)?)),
            }
        }
        Some(out)
    }

    /// The same as it is.
    pub(super) fn plain(&self, client: &AuthnRequest) -> Option<String> {
        self.render(client, None, str::to_owned)
    }

    /// An SQL statement in which each placeholder, quoted or not, is a parameter, and the parameters.
    pub(super) fn statement(&self, mark: impl Fn(usize) -> String) -> (String, Vec<Variable>) {
        let mut out = String::new();
        let mut variables = Vec::new();
        let mut opened: Option<char> = None;
        for part in &self.0 {
            match part {
                Part::Text(text) => {
                    let text = match opened.take() {
                        Some(quote) => text.strip_prefix(quote).unwrap_or(text),
                        None => text,
                    };
                    out.push_str(text);
                }
                Part::Variable(variable) => {
                    if let Some(quote) = out.chars().next_back().filter(|c| "'\"".contains(*c)) {
                        out.pop();
                        opened = Some(quote);
                    }
                    variables.push(variable.clone());
                    out.push_str(&mark(variables.len()));
                }
            }
        }
        (out, variables)
    }
}

/// A placeholder at the front of a text, and its length.
fn read_variable(text: &str) -> Result<Option<(Variable, usize)>, String> {
    if let Some(inner) = text.strip_prefix("${") {
        let Some((name, _)) = inner.split_once('}') else {
            return Err("a placeholder does not end".to_owned());
        };
        let variable = Variable::named(name)
            .ok_or_else(|| format!("there is no placeholder `${{{name}}}`"))?;
        return Ok(Some((variable, name.len() + 3)));
    }
    let letter = text.strip_prefix('%').and_then(|rest| rest.chars().next());
    Ok(letter.and_then(Variable::lettered).map(|found| (found, 2)))
}

/// A value for a URL's path or query, or a form.
pub(super) fn percent_encoded(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&crate::access::password::hex(&[byte]).to_ascii_uppercase());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::authn::tests::client;

    #[test]
    fn both_generations_of_placeholders() {
        let client = client("c1", Some("u/1"), Some("p w"));
        for (text, want) in [
            ("mqtt_user:${username}", "mqtt_user:u/1"),
            ("%u-%c-%P-%a", "u/1-c1-p w-127.0.0.1"),
            ("100% $x ${protocol}", "100% $x MQTT"),
            ("", ""),
        ] {
            let template = Template::new(text).unwrap();
            assert_eq!(template.plain(&client).as_deref(), Some(want), "{text}");
        }
        let encoded = Template::new("/a?u=${username}&p=${password}").unwrap();
        let url = encoded.render(&client, None, percent_encoded);
        assert_eq!(url.as_deref(), Some("/a?u=u%2F1&p=p%20w"));
    }

    #[test]
    fn a_missing_value_makes_no_text() {
        let template = Template::new("x${cert_subject}").unwrap();
        assert_eq!(template.plain(&client("c", None, None)), None);
        assert!(Template::new("${usrname}").is_err());
        assert!(Template::new("${username").is_err());
    }

    #[test]
    fn statements_have_parameters() {
        let text = "select password from mqtt_user where username = '%u' and c=${clientid} limit 1";
        let (statement, variables) = Template::new(text).unwrap().statement(|n| format!("${n}"));
        assert_eq!(
            statement,
            "select password from mqtt_user where username = $1 and c=$2 limit 1"
        );
        assert_eq!(variables, [Variable::Username, Variable::ClientId]);
    }
}
