//! Offers and answers; what is compressed is inflated again, and no further than it may be.

use proptest::prelude::*;

use super::*;
use crate::ws::frame::{Event, FrameLimits, Frames};

const RULES: DeflateRules = DeflateRules {
    level: 6,
    server_takeover: true,
    client_takeover: true,
    server_window_bits: 15,
    client_window_bits: 15,
};

fn answer(rules: DeflateRules, offers: &str) -> Option<String> {
    agree(rules, offers.split(',').map(str::trim)).map(|agreed| agreed.answer())
}

fn pair(rules: DeflateRules) -> (Deflate, Deflate) {
    let agreed = agree(rules, [NAME].into_iter()).unwrap();
    (Deflate::new(agreed, 1 << 20), Deflate::new(agreed, 1 << 20))
}

/// The payload of a frame that a server sends, and whether it is compressed. (It has no mask: one of
/// zeroes is put in.)
fn payload(frame: &[u8]) -> (Vec<u8>, bool) {
    let head = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let mut masked = frame.to_vec();
    masked[1] |= 0x80;
    masked.splice(head..head, [0; 4]);
    let limits = FrameLimits {
        frame_bytes_max: u64::MAX,
        compression: true,
    };
    let mut out = Vec::new();
    let event = Frames::default().next(&mut &masked[..], &mut out, limits);
    let Ok(Some(Event::Data {
        compressed, last, ..
    })) = event
    else {
        panic!("{event:?}");
    };
    assert!(last);
    (out, compressed)
}

#[test]
fn offers_are_answered_as_the_standard_says() {
    let said = |offers| answer(RULES, offers);
    assert_eq!(
        said("permessage-deflate").as_deref(),
        Some("permessage-deflate")
    );
    assert_eq!(
        said("x, permessage-deflate; client_max_window_bits; server_no_context_takeover")
            .as_deref(),
        Some("permessage-deflate; server_no_context_takeover")
    );
    assert_eq!(
        said("Permessage-Deflate;server_max_window_bits=\"10\" ; client_max_window_bits=8")
            .as_deref(),
        Some("permessage-deflate; server_max_window_bits=10; client_max_window_bits=8")
    );
    let smaller = DeflateRules {
        server_takeover: false,
        client_takeover: false,
        server_window_bits: 11,
        client_window_bits: 12,
        ..RULES
    };
    assert_eq!(
        answer(smaller, "permessage-deflate; client_max_window_bits").as_deref(),
        Some(
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
             server_max_window_bits=11; client_max_window_bits=12"
        )
    );
    assert_eq!(
        answer(smaller, "permessage-deflate"),
        None,
        "it cannot be told of a smaller window"
    );
}

#[test]
fn what_is_not_understood_is_no_offer_but_the_next_may_be() {
    for offer in [
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=010",
        "permessage-deflate; server_max_window_bits=+9",
        "permessage-deflate; client_max_window_bits=",
        "permessage-deflate; client_max_window_bits=\"9",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; else",
        "permessage-deflate;",
        "permessage-bzip2",
    ] {
        assert_eq!(answer(RULES, offer), None, "{offer}");
        let both = format!("{offer}, permessage-deflate");
        assert_eq!(
            answer(RULES, &both).as_deref(),
            Some("permessage-deflate"),
            "{offer}"
        );
    }
}

#[test]
fn examples_of_the_standard() {
    // RFC 7692, 7.2.3: one block, two blocks, none compressed, a final block.
    for hello in [
        &b"\xf2\x48\xcd\xc9\xc9\x07\x00"[..],
        b"\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
        b"\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
        b"\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
    ] {
        let (_, mut server) = pair(RULES);
        for cut in 0..hello.len() {
            let mut out = Vec::new();
            server.inflate(&hello[..cut], false, &mut out, 100).unwrap();
            server.inflate(&hello[cut..], true, &mut out, 100).unwrap();
            assert_eq!(out, b"Hello", "{cut}");
        }
    }
    // 7.2.3.2: the second refers to the first.
    let (_, mut server) = pair(RULES);
    let mut out = Vec::new();
    server
        .inflate(b"\xf2\x48\xcd\xc9\xc9\x07\x00", true, &mut out, 100)
        .unwrap();
    server
        .inflate(b"\xf2\x00\x11\x00\x00", true, &mut out, 100)
        .unwrap();
    assert_eq!(out, b"HelloHello");
    let forgets = DeflateRules {
        client_takeover: false,
        ..RULES
    };
    let (_, mut server) = pair(forgets);
    out.clear();
    server
        .inflate(b"\xf2\x48\xcd\xc9\xc9\x07\x00", true, &mut out, 100)
        .unwrap();
    let said = server.inflate(b"\xf2\x00\x11\x00\x00", true, &mut out, 100);
    assert_eq!((said, &out[..]), (Err(INVALID_PAYLOAD), &b"Hello"[..]));
}

#[test]
fn a_bomb_is_cut() {
    let (mut client, _) = pair(RULES);
    let mut wire = Vec::new();
    client.push(Kind::Binary, &vec![0; 10 << 20], &mut wire);
    let (bomb, compressed) = payload(&wire);
    assert!(compressed && bomb.len() < 20_000, "{}", bomb.len());
    let (_, mut server) = pair(RULES);
    let mut out = vec![7];
    assert_eq!(
        server.inflate(&bomb, true, &mut out, u64::MAX),
        Err(TOO_BIG)
    );
    assert_eq!(out, [7], "nothing is left of it");
    assert!(out.capacity() < 3 << 20, "{}", out.capacity());
    // In small pieces: a message's sum counts. And what one receive brings counts by itself.
    let (_, mut server) = pair(RULES);
    let said = bomb.chunks(100).try_for_each(|piece| {
        out.clear();
        server.inflate(piece, false, &mut out, u64::MAX)
    });
    assert_eq!(said, Err(TOO_BIG));
    let (_, mut server) = pair(RULES);
    out.clear();
    assert_eq!(
        server.inflate(&bomb[..50], false, &mut out, 100),
        Err(TOO_BIG)
    );
}

#[test]
fn idle_connections_hold_a_window_only_where_that_was_agreed_on() {
    for takeover in [false, true] {
        let rules = DeflateRules {
            server_takeover: takeover,
            client_takeover: takeover,
            ..RULES
        };
        let (mut client, mut server) = pair(rules);
        assert_eq!((client.held_bytes(), server.held_bytes()), (0, 0));
        let (mut wire, mut out) = (Vec::new(), Vec::new());
        client.push(Kind::Text, &[b'a'; 100], &mut wire);
        let (piece, compressed) = payload(&wire);
        assert!(compressed);
        server.inflate(&piece[..1], false, &mut out, 100).unwrap();
        assert!(server.held_bytes() > 32 << 10);
        server.inflate(&piece[1..], true, &mut out, 100).unwrap();
        assert_eq!(out, [b'a'; 100]);
        assert_eq!(server.held_bytes() > 0, takeover);
        assert_eq!(client.held_bytes() > 0, takeover);
    }
}

#[test]
fn what_does_not_get_shorter_is_sent_as_it_is() {
    let rules = DeflateRules {
        server_takeover: false,
        ..RULES
    };
    let (mut client, _) = pair(rules);
    let noise: Vec<u8> = (0..200_u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    for sent in [&b"short"[..], &noise] {
        let mut wire = Vec::new();
        client.push(Kind::Binary, sent, &mut wire);
        assert_eq!(payload(&wire), (sent.to_vec(), false));
    }
}

proptest! {
    #[test]
    fn inflated_again_whatever_was_agreed_on(
        messages in proptest::collection::vec(
            (proptest::collection::vec(prop_oneof![Just(b'a'), any::<u8>()], 1..3000), 1usize..500),
            1..6,
        ),
        takeover in any::<bool>(),
        level in 0u8..=9,
        bits in 9u8..=15,
    ) {
        let rules = DeflateRules {
            level,
            server_takeover: takeover,
            client_takeover: takeover,
            server_window_bits: bits,
            client_window_bits: bits,
        };
        let agreed = agree(rules, ["permessage-deflate; client_max_window_bits"].into_iter()).unwrap();
        let (mut client, mut server) = (Deflate::new(agreed, 4000), Deflate::new(agreed, 4000));
        for (message, cut) in messages {
            let (mut wire, mut out) = (Vec::new(), Vec::new());
            client.push(Kind::Binary, &message, &mut wire);
            let (sent, compressed) = payload(&wire);
            if compressed {
                let pieces: Vec<&[u8]> = sent.chunks(cut).collect();
                for (at, piece) in pieces.iter().enumerate() {
                    server.inflate(piece, at + 1 == pieces.len(), &mut out, 4000).unwrap();
                }
            } else {
                out = sent;
            }
            prop_assert_eq!(out, message);
        }
    }

    #[test]
    fn any_bytes_end_within_the_limit(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..60), 1..6),
    ) {
        let (_, mut server) = pair(RULES);
        let mut out = Vec::new();
        for piece in &pieces {
            if server.inflate(piece, false, &mut out, 1000).is_err() {
                break;
            }
        }
        prop_assert!(out.len() <= 1000 * pieces.len());
    }
}
