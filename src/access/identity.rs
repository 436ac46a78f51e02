//! Who a client is, as its login has found out.

use crate::access::acl_client::ClientAcl;

/// What is known of a client besides its client id and address. Boxed where it is kept, and absent for
/// a client that came without a name: all that is in here costs such a client nothing.
#[derive(Clone, Default, Debug)]
pub struct Identity {
    /// The user name: the one of CONNECT, or what the login made of it.
    pub username: Option<Box<str>>,
    /// May do everything.
    pub is_superuser: bool,
    /// The common name of the certificate.
    pub cert_common_name: Option<Box<str>>,
    /// The subject (distinguished name) of the certificate.
    pub cert_subject: Option<Box<str>>,
    /// Attributes that a login gave, by name.
    pub attributes: Vec<(Box<str>, Box<str>)>,
    /// Rules that came with the login.
    pub acl: Option<Box<ClientAcl>>,
}

impl Identity {
    /// What is known of a client that was not asked for more than its name.
    pub fn of_username(username: Option<&str>) -> Option<Box<Self>> {
        username.map(|username| {
            Box::new(Self {
                username: Some(username.into()),
                ..Self::default()
            })
        })
    }

    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let own = self.attributes.iter().find(|(own, _)| **own == *name);
        own.map(|(_, value)| &**value)
    }
}
