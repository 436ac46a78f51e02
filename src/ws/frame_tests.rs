//! What a peer may send and what it may not; any split of a stream says the same.

use proptest::prelude::*;

use super::*;

const LIMITS: FrameLimits = FrameLimits {
    frame_bytes_max: u64::MAX,
    compression: false,
};

/// A frame as a client sends it.
fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [7, 0x80, 0, 0xfe];
    let mut frame = Vec::new();
    push_head(&mut frame, first, payload.len());
    frame[1] |= MASKED;
    frame.extend_from_slice(&mask);
    let from = frame.len();
    frame.extend_from_slice(payload);
    apply_mask(&mut frame[from..], mask, 0);
    frame
}

/// What came of a stream: events with data pieces joined, and the fault that ended it.
#[derive(Debug, PartialEq, Eq, Default)]
struct Heard {
    messages: Vec<(Kind, Vec<u8>)>,
    unfinished: Vec<u8>,
    controls: Vec<(Event, Vec<u8>)>,
    fault: Option<CloseCode>,
}

fn hear<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Heard {
    let mut frames = Frames::default();
    let mut heard = Heard::default();
    for mut wire in pieces {
        loop {
            match frames.next(&mut wire, &mut heard.unfinished, LIMITS) {
                Ok(None) => break,
                Ok(Some(Event::Data { kind, last, .. })) => {
                    if last {
                        let whole = std::mem::take(&mut heard.unfinished);
                        heard.messages.push((kind, whole));
                    }
                }
                Ok(Some(event)) => heard.controls.push((event, frames.control().to_vec())),
                Err(code) => {
                    heard.fault = Some(code);
                    return heard;
                }
            }
        }
    }
    heard
}

fn fault(stream: &[u8]) -> Option<CloseCode> {
    hear([stream]).fault
}

#[test]
fn messages_of_every_length_form() {
    for len in [0, 1, 125, 126, 65_535, 65_536, 70_001] {
        let payload: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let heard = hear([&client_frame(FIN | 2, &payload)[..]]);
        assert_eq!(heard.messages, [(Kind::Binary, payload)], "{len}");
    }
}

#[test]
fn control_frames_may_come_between_the_pieces_of_a_message() {
    let stream = [
        client_frame(1, b"one "),
        client_frame(FIN | 9, b"ping"),
        client_frame(0, b""),
        client_frame(FIN | 10, b""),
        client_frame(FIN, b"two"),
        client_frame(FIN | 8, &[0x03, 0xe8, b'b']),
    ];
    let heard = hear([&stream.concat()[..]]);
    assert_eq!(heard.messages, [(Kind::Text, b"one two".to_vec())]);
    let controls = [
        (Event::Ping, b"ping".to_vec()),
        (Event::Pong, Vec::new()),
        (Event::Close(Some(1000)), vec![0x03, 0xe8, b'b']),
    ];
    assert_eq!(heard.controls, controls);
}

#[test]
fn what_breaks_the_protocol_is_a_fault() {
    let two = |a: Vec<u8>, b: Vec<u8>| [a, b].concat();
    let mut unmasked = client_frame(FIN | 2, b"x");
    unmasked[1] &= !MASKED;
    for (what, stream) in [
        ("no mask", unmasked),
        ("reserved bit 1", client_frame(FIN | RSV1 | 2, b"x")),
        ("reserved bit 2", client_frame(FIN | 0x20 | 2, b"x")),
        ("reserved bit 3", client_frame(FIN | 0x10 | 9, b"")),
        ("reserved opcode 3", client_frame(FIN | 3, b"")),
        ("reserved opcode 7", client_frame(FIN | 7, b"")),
        ("reserved opcode 11", client_frame(FIN | 11, b"")),
        ("reserved opcode 15", client_frame(FIN | 15, b"")),
        ("a ping in pieces", client_frame(9, b"")),
        ("a long ping", client_frame(FIN | 9, &[0; 126])),
        ("nothing to go on with", client_frame(FIN, b"x")),
        (
            "a message within a message",
            two(client_frame(2, b"x"), client_frame(FIN | 2, b"y")),
        ),
        ("a close of one byte", client_frame(FIN | 8, b"x")),
        (
            "a long length for little",
            vec![FIN | 2, MASKED | 126, 0, 125, 0, 0, 0, 0],
        ),
        (
            "a longer length for little",
            vec![
                FIN | 2,
                MASKED | 127,
                0,
                0,
                0,
                0,
                0,
                0,
                255,
                255,
                0,
                0,
                0,
                0,
            ],
        ),
        (
            "the highest bit of a length",
            vec![FIN | 2, MASKED | 127, 128, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
    ] {
        assert_eq!(fault(&stream), Some(PROTOCOL_ERROR), "{what}");
    }
}

#[test]
fn close_codes_are_those_of_the_protocol() {
    let close = |code: u16| fault(&client_frame(FIN | 8, &code.to_be_bytes()));
    for good in [1000, 1001, 1002, 1003, 1007, 1011, 3000, 3999, 4000, 4999] {
        assert_eq!(close(good), None, "{good}");
    }
    for bad in [
        0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999, 5000, 65_535,
    ] {
        assert_eq!(close(bad), Some(PROTOCOL_ERROR), "{bad}");
    }
    let reason = client_frame(FIN | 8, b"\x03\xe8\xce\xba\xe1\xed\xa0\x80");
    assert_eq!(fault(&reason), Some(INVALID_PAYLOAD));
}

#[test]
fn a_frame_beyond_the_limit_is_refused_by_its_head() {
    let limits = FrameLimits {
        frame_bytes_max: 10,
        compression: false,
    };
    let mut out = Vec::new();
    let mut frames = Frames::default();
    let frame = client_frame(FIN | 2, &[0; 11]);
    let said = frames.next(&mut &frame[..6], &mut out, limits);
    assert_eq!((said, out.len()), (Err(TOO_BIG), 0));
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let control = (8_u8..=10, proptest::collection::vec(any::<u8>(), 0..130));
    let data = (
        any::<bool>(),
        0_u8..=2,
        proptest::collection::vec(any::<u8>(), 0..300),
    );
    prop_oneof![
        4 => data.prop_map(|(fin, op, load)| client_frame(if fin { FIN } else { 0 } | op, &load)),
        2 => control.prop_map(|(opcode, load)| client_frame(FIN | opcode, &load)),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
    ]
}

proptest! {
    #[test]
    fn any_split_of_a_stream_says_the_same(
        stream in proptest::collection::vec(any_frame(), 0..8).prop_map(|all| all.concat()),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]);
        prop_assert_eq!(hear(pieces), hear([&stream[..]]));
    }

    #[test]
    fn a_mask_twice_is_none(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..100),
        mask in any::<[u8; 4]>(),
        from in 0_u8..4,
        cut in 0_usize..100,
    ) {
        let plain = bytes.clone();
        apply_mask(&mut bytes, mask, from);
        let simple: Vec<u8> = plain
            .iter()
            .enumerate()
            .map(|(at, byte)| byte ^ mask[(at + usize::from(from)) % 4])
            .collect();
        prop_assert_eq!(&bytes, &simple);
        // In two pieces.
        let cut = cut.min(bytes.len());
        let (head, tail) = bytes.split_at_mut(cut);
        apply_mask(head, mask, from);
        let behind = u8::try_from((usize::from(from) + cut) % 4).unwrap();
        apply_mask(tail, mask, behind);
        prop_assert_eq!(bytes, plain);
    }

    #[test]
    fn never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = hear([&bytes[..]]);
    }
}
