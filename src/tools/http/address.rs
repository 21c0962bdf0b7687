//! Which addresses http tools may connect to: the public ones, and what the user allowed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use url::Host;

use crate::tools::ToolError;

/// The ports that are open without being allowed.
const USUAL_PORTS: [u16; 2] = [80, 443];

/// IPv4 ranges that lead nowhere public (IANA special-purpose registry).
const BLOCKED_V4: &[([u8; 4], u32, &str)] = &[
    ([0, 0, 0, 0], 8, "this host"),
    ([10, 0, 0, 0], 8, "private"),
    ([100, 64, 0, 0], 10, "carrier"),
    ([127, 0, 0, 0], 8, "loopback"),
    ([169, 254, 0, 0], 16, "link-local or metadata"),
    ([172, 16, 0, 0], 12, "private"),
    ([192, 0, 0, 0], 24, "protocol assignment"),
    ([192, 0, 2, 0], 24, "documentation"),
    ([192, 88, 99, 0], 24, "6to4 relay"),
    ([192, 168, 0, 0], 16, "private"),
    ([198, 18, 0, 0], 15, "benchmark"),
    ([198, 51, 100, 0], 24, "documentation"),
    ([203, 0, 113, 0], 24, "documentation"),
    ([224, 0, 0, 0], 4, "multicast"),
    ([240, 0, 0, 0], 4, "reserved or broadcast"),
];

/// IPv6 ranges that lead nowhere public, or to IPv4 addresses by another name.
const BLOCKED_V6: &[([u16; 8], u32, &str)] = &[
    (
        [0, 0, 0, 0, 0, 0, 0, 0],
        96,
        "loopback, unspecified or IPv4-compatible",
    ),
    ([0, 0, 0, 0, 0, 0xffff, 0, 0], 96, "IPv4-mapped"),
    ([0, 0, 0, 0, 0xffff, 0, 0, 0], 96, "IPv4-translated"),
    ([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, "IPv4 translation"),
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "IPv4 translation"),
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "discard"),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "protocol assignment"),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "documentation"),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "6to4"),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "documentation"),
    ([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, "segment routing"),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "private"),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "link-local"),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "site-local"),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "multicast"),
];

/// The kind of address that this is, when it is not a public one.
pub(super) fn not_public(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => BLOCKED_V4.iter().find_map(|(net, bits, kind)| {
            let mask = u32::MAX << (32 - bits);
            let net = u32::from(Ipv4Addr::from(*net));
            (u32::from(address) & mask == net).then_some(*kind)
        }),
        IpAddr::V6(address) => BLOCKED_V6.iter().find_map(|(net, bits, kind)| {
            let mask = u128::MAX << (128 - bits);
            let net = u128::from(Ipv6Addr::from(*net));
            (u128::from(address) & mask == net).then_some(*kind)
        }),
    }
}

/// An entry of `http.allow`, taken apart: the host and its port.
fn entry(text: &str) -> Option<(Host, u16)> {
    let (host, port) = text.trim().rsplit_once(':')?;
    Some((Host::parse(host).ok()?, port.parse().ok()?))
}

/// Whether a text is an entry that `http.allow` can hold: `host:port`, an IPv6 address in brackets.
pub fn is_host_and_port(text: &str) -> bool {
    entry(text).is_some()
}

/// The addresses of a host that may be connected to. Those that the user allowed, by address or
/// by name, are taken alone; else every one must be public and the port a usual one.
pub(super) fn permitted(
    allow: &[String],
    host: &str,
    addresses: &[SocketAddr],
) -> Result<Vec<SocketAddr>, ToolError> {
    let entries: Vec<(Host, u16)> = allow.iter().filter_map(|text| entry(text)).collect();
    let allowed: Vec<SocketAddr> = addresses
        .iter()
        .filter(|address| {
            entries.iter().any(|(entry, port)| {
                *port == address.port()
                    && match entry {
                        Host::Ipv4(entry) => address.ip() == IpAddr::V4(*entry),
                        Host::Ipv6(entry) => address.ip() == IpAddr::V6(*entry),
                        // A name that somebody else controls must not lead to credentials.
                        Host::Domain(entry) => {
                            entry.eq_ignore_ascii_case(host) && !is_metadata(address.ip())
                        }
                    }
            })
        })
        .copied()
        .collect();
    if !allowed.is_empty() {
        return Ok(allowed);
    }
    for address in addresses {
        if let Some(kind) = not_public(address.ip()) {
            return Err(ToolError::refused(format!(
                "`{host}` leads to {}, a {kind} address: access is not allowed (the user can put \
                 `{address}` in `settings.http.allow`)",
                address.ip()
            )));
        }
        if !USUAL_PORTS.contains(&address.port()) {
            return Err(ToolError::refused(format!(
                "port {port} of `{host}` is not allowed: only 80 and 443 are (the user can put \
                 `{host}:{port}` in `settings.http.allow`)",
                port = address.port()
            )));
        }
    }
    Ok(addresses.to_vec())
}

/// The kind of a name that leads to this machine or its network wherever it is asked for; it is not looked up.
pub(super) fn not_public_name(allow: &[String], host: &str, port: u16) -> Option<&'static str> {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    let last = name.rsplit('.').next().unwrap_or_default();
    let kind = match last {
        "localhost" => "loopback",
        "local" | "internal" | "lan" | "home" => "local",
        "metadata" | "instance-data" => "metadata",
        _ => return None,
    };
    let is_allowed =
        allow
            .iter()
            .filter_map(|text| entry(text))
            .any(|(entry, allowed)| match entry {
                Host::Domain(entry) => allowed == port && entry.eq_ignore_ascii_case(host),
                Host::Ipv4(_) | Host::Ipv6(_) => false,
            });
    // The machine's own name has addresses, which may be allowed.
    (!is_allowed && !host.eq_ignore_ascii_case("localhost")).then_some(kind)
}

fn is_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => {
            address.is_unicast_link_local()
                || address.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_what_is_not_public() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:8.8.8.8",
            "::ffff:127.0.0.1",
            "::ffff:0:127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(not_public(address.parse().unwrap()).is_some(), "{address}");
        }
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.169.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00::1",
            "2001:200::1",
            "2003::1",
        ] {
            assert_eq!(not_public(address.parse().unwrap()), None, "{address}");
        }
    }

    #[test]
    fn permits_public_addresses_and_what_is_allowed() {
        let allow = [
            "127.0.0.1:3000",
            "[::1]:4000",
            "localhost:5000",
            "api.test:8443",
            "meta.test:80",
            "bad",
        ]
        .map(ToOwned::to_owned);
        let permitted = |host: &str, addresses: &[&str]| {
            let addresses: Vec<SocketAddr> =
                addresses.iter().map(|text| text.parse().unwrap()).collect();
            permitted(&allow, host, &addresses).ok().map(|addresses| {
                addresses
                    .iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
        };
        for (host, addresses, expected) in [
            ("a.test", &["1.1.1.1:443"][..], Some("1.1.1.1:443")),
            (
                "a.test",
                &["1.1.1.1:443", "[2606:4700::1]:443"],
                Some("1.1.1.1:443 [2606:4700::1]:443"),
            ),
            ("a.test", &["1.1.1.1:22"], None),
            ("a.test", &["1.1.1.1:80", "127.0.0.1:80"], None),
            ("a.test", &["127.0.0.1:3000"], Some("127.0.0.1:3000")),
            (
                "a.test",
                &["[::1]:3000", "127.0.0.1:3000"],
                Some("127.0.0.1:3000"),
            ),
            ("a.test", &["127.0.0.1:3001"], None),
            ("::ffff:127.0.0.1", &["[::ffff:127.0.0.1]:3000"], None),
            ("::1", &["[::1]:4000"], Some("[::1]:4000")),
            (
                "localhost",
                &["127.0.0.1:5000", "[::1]:5000"],
                Some("127.0.0.1:5000 [::1]:5000"),
            ),
            ("evil.test", &["127.0.0.1:5000"], None),
            ("api.test", &["10.1.2.3:8443"], Some("10.1.2.3:8443")),
            ("api.test", &["10.1.2.3:443"], None),
            ("meta.test", &["169.254.169.254:80"], None),
        ] {
            assert_eq!(
                permitted(host, addresses).as_deref(),
                expected,
                "{host} {addresses:?}"
            );
        }
    }

    #[test]
    fn knows_names_that_are_not_public() {
        let allow = ["db.local:80".to_owned()];
        for (host, expected) in [
            ("app.localhost", Some("loopback")),
            ("a.LOCALHOST.", Some("loopback")),
            ("localhost.", Some("loopback")),
            ("metadata.google.internal", Some("local")),
            ("printer.local", Some("local")),
            ("metadata", Some("metadata")),
            ("db.local", None),
            ("localhost", None),
            ("internal.example.com", None),
            ("example.com", None),
        ] {
            assert_eq!(not_public_name(&allow, host, 80), expected, "{host}");
        }
        assert_eq!(not_public_name(&allow, "db.local", 81), Some("local"));
    }

    #[test]
    fn knows_entries_of_the_allow_list() {
        for text in ["127.0.0.1:80", "[::1]:1", "localhost:65535", "a.b:443"] {
            assert!(is_host_and_port(text), "{text}");
        }
        for text in [
            "127.0.0.1",
            "::1:80",
            "a:b",
            "a:70000",
            ":80",
            "http://a:80",
        ] {
            assert!(!is_host_and_port(text), "{text}");
        }
    }
}
