//! Users in an LDAP directory: the entry's password is compared here, or by the server with a bind.

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, Scope, SearchEntry};
use ldap3::{SearchOptions, dn_escape, ldap_escape};

use crate::access::password::verify_ldap;
use crate::config::{LdapAuthn, LdapType, Time};
use crate::control::authn::member::Opinion;
use crate::control::authn::pool::{Pool, over_pool};
use crate::control::authn::template::Template;
use crate::gate::authn::{AuthnRequest, Grant, Secret};
use crate::mqtt::reason::ReasonCode;

/// `invalidCredentials`.
const WRONG_PASSWORD: u32 = 49;
/// `noSuchObject`.
const NO_SUCH_ENTRY: u32 = 32;
/// Entries that are asked for: two are already too many.
const ENTRIES_MAX: i32 = 2;

pub(super) struct Directory {
    config: LdapAuthn,
    url: String,
    base: Template,
    filter: Template,
    pool: Pool<Ldap>,
}

/// A client's entry.
struct Entry {
    dn: String,
    passwords: Vec<String>,
    superuser: bool,
}

impl Directory {
    pub(super) fn new(config: &LdapAuthn) -> Result<Self, String> {
        let url = if config.server.contains("://") {
            config.server.clone()
        } else {
            format!("ldap://{}", config.server)
        };
        if !url.starts_with("ldap://") && !url.starts_with("ldaps://") {
            return Err("`server` is neither ldap:// nor ldaps://".to_owned());
        }
        Ok(Self {
            url,
            base: Template::new(&config.base_dn)?,
            filter: Template::new(&config.filter)?,
            pool: Pool::new(config.pool_size),
            config: config.clone(),
        })
    }

    pub(super) fn timeout(&self) -> Time {
        self.config.query_timeout
    }

    pub(super) async fn ask(&self, client: &AuthnRequest) -> Result<Opinion, String> {
        let base = self
            .base
            .render(client, None, |value| dn_escape(value).into_owned());
        let filter = self
            .filter
            .render(client, None, |value| ldap_escape(value).into_owned());
        let (Some(base), Some(filter), Some(password)) = (base, filter, &client.password) else {
            return Ok(Opinion::Ignore);
        };
        let Some(entry) = over_pool!(self.pool, self.connect(), |connection| {
            self.search(&mut connection, &base, &filter)
        }) else {
            return Ok(Opinion::Ignore);
        };
        let good = match self.config.method.kind {
            LdapType::Hash => {
                let mut own = entry.passwords.iter();
                own.any(|own| verify_ldap(own, password.bytes()))
            }
            LdapType::Bind => self.binds(&entry.dn, password).await?,
        };
        Ok(if good {
            Opinion::Allow(Box::new(Grant {
                superuser: entry.superuser,
                ..Grant::default()
            }))
        } else {
            Opinion::Deny(ReasonCode::BadUserNameOrPassword)
        })
    }

    async fn connect(&self) -> Result<Ldap, LdapError> {
        let settings = LdapConnSettings::new().set_conn_timeout(self.config.query_timeout.0);
        let (connection, ldap) = LdapConnAsync::with_settings(settings, &self.url).await?;
        // Ends with the handle.
        tokio::spawn(connection.drive());
        Ok(ldap)
    }

    /// The one entry that the filter finds; several are none.
    async fn search(
        &self,
        ldap: &mut Ldap,
        base: &str,
        filter: &str,
    ) -> Result<Option<Entry>, LdapError> {
        if let Some(username) = &self.config.username {
            // A handle may have been bound as a client since.
            let password = self.config.password.as_ref().map_or("", |p| p.text());
            ldap.simple_bind(username, password).await?.success()?;
        }
        let method = &self.config.method;
        let attributes = [
            method.password_attribute.as_str(),
            method.is_superuser_attribute.as_str(),
        ];
        ldap.with_search_options(SearchOptions::new().sizelimit(ENTRIES_MAX));
        let result = ldap
            .search(base, Scope::Subtree, filter, attributes)
            .await?;
        if result.1.rc == NO_SUCH_ENTRY {
            return Ok(None);
        }
        let (found, _) = result.success()?;
        let mut entries = found
            .into_iter()
            .filter(|entry| !entry.is_ref() && !entry.is_intermediate())
            .map(SearchEntry::construct);
        let (Some(mut entry), None) = (entries.next(), entries.next()) else {
            return Ok(None);
        };
        let mut values = |name: &str| {
            let named = |own: &&String| own.eq_ignore_ascii_case(name);
            let key = entry.attrs.keys().find(named).cloned();
            key.and_then(|key| entry.attrs.remove(&key))
                .unwrap_or_default()
        };
        let passwords = values(&method.password_attribute);
        let superuser = values(&method.is_superuser_attribute);
        Ok(Some(Entry {
            dn: entry.dn,
            passwords,
            superuser: superuser
                .first()
                .is_some_and(|value| value.eq_ignore_ascii_case("true")),
        }))
    }

    /// Whether the server takes a password for an entry. It would take an empty one for an anonymous
    /// bind (RFC 4513, 5.1.2), so that is none.
    async fn binds(&self, dn: &str, password: &Secret) -> Result<bool, String> {
        let Some(password) = password.text().filter(|text| !text.is_empty()) else {
            return Ok(false);
        };
        let rc = over_pool!(self.pool, self.connect(), |connection| {
            bind(&mut connection, dn, password)
        });
        match rc {
            0 => Ok(true),
            WRONG_PASSWORD => Ok(false),
            other => Err(format!("a bind ended with code {other}")),
        }
    }
}

async fn bind(ldap: &mut Ldap, dn: &str, password: &str) -> Result<u32, LdapError> {
    Ok(ldap.simple_bind(dn, password).await?.rc)
}
