//! Answers of OCSP responders: what is taken is about the certificate, and holds now.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::base::ocsp::CertId;

const NOW: i64 = 1_700_000_000;

fuzz_target!(|data: &[u8]| {
    let asked = CertId::new(b"name", b"key", &[0x10, 0x01]);
    match asked.judge(data, NOW) {
        Ok(answer) => {
            assert!(answer.until_unix_s.is_none_or(|until| until > NOW));
            assert!(data.windows(2).any(|bytes| bytes == b"\x10\x01"));
            // One that has ended before it is asked for is not taken.
            if let Some(until) = answer.until_unix_s {
                assert!(asked.judge(data, until).is_err());
            }
        }
        Err(why) => assert!(!why.is_empty()),
    }
});
