//! Certificates that clients show: the names in any DER. What comes of it is text of a bounded size.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace::runtime::tls_names::{NamesWanted, names_of};

/// Text that stands for one byte at most: `#` and two digits, an escape, an object identifier.
const GROWTH_MAX: usize = 8;

fuzz_target!(|data: &[u8]| {
    let wanted = NamesWanted {
        crt: true,
        pem: true,
        md5: true,
    };
    let Some(names) = names_of(data, wanted) else {
        return;
    };
    for name in [&names.common_name, &names.subject].into_iter().flatten() {
        assert!(name.len() <= data.len() * GROWTH_MAX, "{} bytes", name.len());
    }
    assert!(names.subject.is_some() && names.crt.is_some() && names.pem.is_some());
    assert_eq!(names.md5.as_ref().map(|md5| md5.len()), Some(32));
    assert_eq!(names_of(data, NamesWanted::default()).map(|n| n.subject), Some(names.subject));
});
