//! A client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), and the properties that carry it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bench_harness::codec::{Properties, Property};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// HMAC-SHA-256.
fn mac(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

/// A client's side of SCRAM-SHA-256.
pub struct ScramClient {
    bare: String,
    password: String,
    /// What the server has to prove itself with.
    pub expected: Vec<u8>,
}

impl ScramClient {
    pub fn new(user: &str, password: &str) -> Self {
        Self::with_nonce(user, password, "fyko+d2lbbFgONRv9qkxdawL")
    }

    /// The same with a nonce of its own.
    pub fn with_nonce(user: &str, password: &str, nonce: &str) -> Self {
        Self {
            bare: format!("n={user},r={nonce}"),
            password: password.to_owned(),
            expected: Vec::new(),
        }
    }

    pub fn first(&self) -> Vec<u8> {
        format!("n,,{}", self.bare).into_bytes()
    }

    pub fn last(&mut self, server_first: &[u8]) -> Vec<u8> {
        let server = std::str::from_utf8(server_first).unwrap();
        let part = |name| {
            server
                .split(',')
                .find_map(|part| part.strip_prefix(name))
                .unwrap()
        };
        let salt = STANDARD.decode(part("s=")).unwrap();
        let rounds: u32 = part("i=").parse().unwrap();
        let mut salted = [0; 32];
        pbkdf2::pbkdf2_hmac::<Sha256>(self.password.as_bytes(), &salt, rounds, &mut salted);
        let client_key = mac(&salted, b"Client Key");
        let stored_key = Sha256::digest(&client_key);
        let without = format!("c=biws,r={}", part("r="));
        let signed = format!("{},{server},{without}", self.bare);
        let signature = mac(&stored_key, signed.as_bytes());
        let proof: Vec<u8> = client_key
            .iter()
            .zip(signature)
            .map(|(a, b)| a ^ b)
            .collect();
        let server_key = mac(&salted, b"Server Key");
        let expected = STANDARD.encode(mac(&server_key, signed.as_bytes()));
        self.expected = format!("v={expected}").into_bytes();
        format!("{without},p={}", STANDARD.encode(proof)).into_bytes()
    }
}

/// The properties of a step of a method.
pub fn method(name: &str, data: &[u8]) -> Properties {
    Properties(vec![
        Property::AuthenticationMethod(name.to_owned()),
        Property::AuthenticationData(data.to_vec()),
    ])
}

/// The data of a step.
pub fn data_of(properties: &Properties) -> Vec<u8> {
    let data = properties.0.iter().find_map(|property| match property {
        Property::AuthenticationData(data) => Some(data.clone()),
        _ => None,
    });
    data.unwrap_or_default()
}

pub const SCRAM: &str = "SCRAM-SHA-256";
