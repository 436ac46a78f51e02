//! A chain: its members are asked one after another, the first that decides ends it.

use crate::config::AuthnProvider;
use crate::control::authn::hashing::Hashing;
use crate::control::authn::member::{Member, Opinion};
use crate::gate::authn::{AuthnRequest, Verdict};
use crate::mqtt::reason::ReasonCode;

/// Members in order.
pub struct Chain {
    name: String,
    members: Vec<Member>,
}

impl Chain {
    pub(super) fn new(
        name: &str,
        providers: &[AuthnProvider],
        hashing: &Hashing,
    ) -> Result<Self, String> {
        let member = |(index, provider): (usize, &AuthnProvider)| {
            Member::new(provider, hashing)
                .map_err(|what| format!("entry {} ({}): {what}", index + 1, provider.kind.id()))
        };
        let enabled = providers
            .iter()
            .enumerate()
            .filter(|(_, provider)| provider.enable);
        Ok(Self {
            name: name.to_owned(),
            members: enabled.map(member).collect::<Result<_, _>>()?,
        })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its members.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Asks the members; who is known to none of them is refused. Who gave a password hears the same
    /// as with a wrong one: what users there are is nobody's business. The password is gone when this
    /// is over, whatever the answer.
    pub(super) async fn decide(&self, client: &mut AuthnRequest) -> Verdict {
        let mut verdict = Verdict::Deny(match client.password {
            Some(_) => ReasonCode::BadUserNameOrPassword,
            None => ReasonCode::NotAuthorized,
        });
        let mut by = "nobody";
        for member in &self.members {
            verdict = match member.ask(client).await {
                Opinion::Ignore => continue,
                Opinion::Allow(grant) => Verdict::Allow(grant),
                Opinion::Deny(reason) => Verdict::Deny(reason),
                Opinion::Continue(data, state) => Verdict::Continue { data, state },
                Opinion::Busy => Verdict::Busy,
            };
            by = member.id();
            break;
        }
        client.password = None;
        if let Verdict::Deny(reason) = &verdict {
            tracing::debug!(
                client_id = %client.client_id,
                username = client.username.as_deref().unwrap_or(""),
                peer = %client.peer,
                chain = self.name,
                by,
                ?reason,
                "authentication failed"
            );
        }
        verdict
    }
}
