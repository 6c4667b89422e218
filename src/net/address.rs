//! Addresses: where they lead, and where a redirect in them does (RFC 3986, 5.2, as far as servers use it).

/// `SCHEME://HOST:PORT` of an address, in lower case.
pub fn origin(address: &str) -> Option<String> {
    let (scheme, rest) = address.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    Some(format!("{scheme}://{}", &rest[..end]).to_ascii_lowercase())
}

/// The host of an address, without its port.
pub fn host(address: &str) -> Option<String> {
    let origin = origin(address)?;
    let (_, host) = origin.split_once("://")?;
    // An address of version 6 has colons of its own, in brackets.
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map(|(host, _)| host.to_owned());
    }
    Some(host.split_once(':').map_or(host, |(host, _)| host).to_owned())
}

/// Where `location`, given by `address`, leads.
pub fn resolve(address: &str, location: &str) -> Option<String> {
    let location = location.split('#').next().unwrap_or_default();
    let scheme = address.split_once("://")?.0;
    if location.is_empty() || location.chars().any(|c| c.is_control() || c == ' ') {
        return None;
    }
    let origin = origin(address)?;
    if let Some(rest) = location.strip_prefix("//") {
        return Some(format!("{scheme}://{rest}"));
    }
    if location.starts_with('/') {
        return Some(format!("{origin}{location}"));
    }
    let before_path = location.split(['/', '?']).next().unwrap_or_default();
    if before_path.contains(':') {
        return (location.starts_with("http://") || location.starts_with("https://"))
            .then(|| location.to_owned());
    }
    let path = address.split(['?', '#']).next().unwrap_or_default();
    if location.starts_with('?') {
        return Some(format!("{path}{location}"));
    }
    let directory = path.get(origin.len()..).and_then(|path| path.rsplit_once('/')).map_or("", |(d, _)| d);
    Some(format!("{origin}{directory}/{location}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_leads_where_it_says() {
        for (location, expected) in [
            ("https://Other:1/x?y=1#z", Some("https://Other:1/x?y=1")),
            ("//other/x", Some("http://other/x")),
            ("/x", Some("http://host:80/x")),
            ("x?a", Some("http://host:80/a/x?a")),
            ("?q", Some("http://host:80/a/b?q")),
            ("file:///etc/passwd", None),
            ("javascript:x", None),
            ("/a\r\nX: y", None),
            ("", None),
        ] {
            assert_eq!(resolve("http://host:80/a/b?c", location).as_deref(), expected, "{location}");
        }
        assert_eq!(resolve("http://host", "x").as_deref(), Some("http://host/x"));
        assert_eq!(host("http://[::1]:80/x").as_deref(), Some("::1"));
        assert_eq!(host("https://Host:80").as_deref(), Some("host"));
    }
}
