//! Names and numbers in their text form.

use pipewright_api::net::{LinkName, MacAddr};

/// What `echo $SEED | md5sum` gives in the script, whose argument is unquoted.
#[test]
fn a_seed_gives_the_mac_address_that_pipework_gives() {
    for (seed, mac) in [
        ("myhost.foo.com", "02:72:6c:cd:9b:8d"),
        ("", "02:68:b3:29:da:98"),
        ("a b", "02:75:57:d2:f3:a6"),
        ("a  b", "02:75:57:d2:f3:a6"),
        (" a\tb ", "02:75:57:d2:f3:a6"),
        ("-n", "02:d4:1d:8c:d9:8f"),
        // As bash has it; dash reads \t as a tab.
        ("x\\ty", "02:86:d2:48:50:33"),
    ] {
        let parsed: MacAddr = format!("U:{seed}").parse().unwrap();

        assert_eq!(parsed.to_string(), mac, "seed {seed:?}");
        assert_eq!(parsed, MacAddr::from_seed(seed));
    }
}

#[test]
fn a_colon_belongs_to_the_seed() {
    let parsed: MacAddr = "U:a:b".parse().unwrap();

    assert_eq!(parsed, MacAddr::from_seed("a:b"));
    assert_ne!(parsed, MacAddr::from_seed("a"));
}

#[test]
fn a_derived_name_is_a_link_name_that_shows_that_it_is_derived() {
    for hash in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
        let derived = LinkName::derived(hash);

        assert!(derived.is_derived(), "{derived}");
        assert_eq!(derived.as_str().parse::<LinkName>().unwrap(), derived);
    }
    for other in ["pw", "pw0", "pwabcdefghijk", "pwabcdefghijklm", "pwabcdefghijk1", "pwabcdefghijkL", "eth1"]
    {
        assert!(!other.parse::<LinkName>().unwrap().is_derived(), "{other}");
    }
}

#[test]
fn a_derived_mac_address_is_unicast_and_locally_administered() {
    for hash in [0, u64::MAX, 0x0123_4567_89ab_cdef] {
        let mac = MacAddr::derived(hash);

        assert_eq!(MacAddr::try_from(mac.octets()), Ok(mac));
        assert_eq!(mac.octets()[0], 0x02);
        assert_eq!(mac.with_first_octet(0xff).octets()[0], 0xfe);
    }
}
