//! The PROXY header: what is one does not change with what comes behind it, is not seen before it is
//! whole, and is never longer than what there is; what is none stays none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::ws::proxy::{HEADER_BYTES_MAX, parse};

fuzz_target!(|data: &[u8]| {
    // Half of the inputs begin as version 2 does, a quarter as version 1, so that lengths and extensions
    // are reached soon.
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let start: &[u8] = match first % 4 {
        0 | 1 => b"\r\n\r\n\0\r\nQUIT\n",
        2 => b"PROXY ",
        _ => b"",
    };
    let bytes = [start, rest].concat();
    let whole = parse(&bytes);
    if let Ok(Some((header, len))) = &whole {
        assert!(*len <= bytes.len() && *len <= HEADER_BYTES_MAX);
        for name in [&header.common_name, &header.tls_version].into_iter().flatten() {
            assert!(!name.is_empty() && !name.chars().any(char::is_control));
        }
        assert_eq!(parse(&bytes[..*len]), whole);
        let mut longer = bytes.clone();
        longer.extend_from_slice(b"\x10\x0c");
        assert_eq!(parse(&longer), whole);
    }
    let end = whole.as_ref().ok().and_then(Option::as_ref).map_or(bytes.len(), |(_, len)| *len);
    let mut refused = false;
    for cut in 0..=end.min(300) {
        match parse(&bytes[..cut]) {
            Err(_) => refused = true,
            Ok(found) => {
                assert!(!refused, "refused, then not: {cut}");
                assert_eq!(found.is_some(), cut == end && matches!(whole, Ok(Some(_))), "{cut}");
            }
        }
    }
    assert!(!refused || whole.is_err());
    assert!(bytes.len() < HEADER_BYTES_MAX || !matches!(whole, Ok(None)), "waits without end");
});
