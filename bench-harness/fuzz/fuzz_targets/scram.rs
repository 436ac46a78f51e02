//! SCRAM: a client's first and last message of any kind. A proof that is right is accepted, one that is not
//! never; a user who is not there is answered like one who is.
#![no_main]

use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use millrace::access::scram::{Credential, challenge, credential, finish, mac, read_first, user_of};
use millrace::config::ScramHash;

const HASH: ScramHash = ScramHash::Sha256;

fn user() -> &'static Credential {
    static USER: OnceLock<Credential> = OnceLock::new();
    USER.get_or_init(|| credential(HASH, b"pencil", b"salt of a user", 2))
}

/// The last message of one who knows the password.
fn proof(bare: &str, server_first: &str, without_proof: &str) -> Vec<u8> {
    // One block of PBKDF2 of two rounds.
    let first = mac(HASH, b"pencil", b"salt of a user\0\0\0\x01");
    let second = mac(HASH, b"pencil", &first);
    let salted: Vec<u8> = first.iter().zip(&second).map(|(a, b)| a ^ b).collect();
    let client_key = mac(HASH, &salted, b"Client Key");
    let signed = format!("{bare},{server_first},{without_proof}");
    let signature = mac(HASH, &user().stored_key, signed.as_bytes());
    client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect()
}

fuzz_target!(|data: &[u8]| {
    let Some((len, rest)) = data.split_first() else {
        return;
    };
    let (first_message, last_message) = rest.split_at(usize::from(*len).min(rest.len()));
    let Ok(first) = read_first(first_message) else {
        return;
    };
    assert!(!first.username.is_empty() && !first.username.contains('\0'));
    let ours = challenge(&first, Some(user()), "ours", b"of nobody");
    let nobodys = challenge(&first, None, "ours", b"of nobody");
    assert_eq!(user_of(&ours.state), Some(&*first.username));
    assert!(nobodys.message.starts_with("r=") && nobodys.message.contains("ours,s="));
    // Nobody knows the proof of these.
    assert!(finish(HASH, &ours.state, last_message, Some(user())).is_err());
    assert!(finish(HASH, &nobodys.state, last_message, None).is_err());
    // The right answer, with extensions of any kind before the proof.
    let text = String::from_utf8_lossy(first_message);
    let Some((header, bare)) = text.match_indices(',').nth(1).map(|(at, _)| text.split_at(at + 1)) else {
        return;
    };
    let nonce = ours.message[2..].split(',').next().unwrap_or_default();
    let more = std::str::from_utf8(last_message).ok().filter(|more| !more.contains(['\0', ',']));
    let without_proof = match more {
        Some(more) if !more.is_empty() => format!("c={},r={nonce},{more}", STANDARD.encode(header)),
        _ => format!("c={},r={nonce}", STANDARD.encode(header)),
    };
    let right = proof(bare, &ours.message, &without_proof);
    let message = format!("{without_proof},p={}", STANDARD.encode(&right));
    let answer = finish(HASH, &ours.state, message.as_bytes(), Some(user()));
    assert!(answer.is_ok_and(|answer| answer.starts_with("v=")));
    assert!(finish(HASH, &ours.state, message.as_bytes(), None).is_err());
    let mut wrong = right;
    wrong[usize::from(*len) % 32] ^= 1;
    let message = format!("{without_proof},p={}", STANDARD.encode(&wrong));
    assert!(finish(HASH, &ours.state, message.as_bytes(), Some(user())).is_err());
});
