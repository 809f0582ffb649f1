//! Names as Kubernetes and Slack have them: which texts can be one.

/// A DNS label: small letters, digits and '-', beginning and ending with a letter or digit, at most 63.
pub(crate) fn is_dns_label(text: &str) -> bool {
    is_wrapped(
        text,
        63,
        |c| c.is_ascii_lowercase() || c.is_ascii_digit(),
        |c| c == '-',
    )
}

/// The name of an object: DNS labels with dots between them, at most 253 characters.
pub(crate) fn is_dns_subdomain(text: &str) -> bool {
    let part = |part| {
        is_wrapped(
            part,
            253,
            |c| c.is_ascii_lowercase() || c.is_ascii_digit(),
            |c| c == '-',
        )
    };
    text.len() <= 253 && text.split('.').all(part)
}

/// A value of a label that is not empty, at most 63 characters.
pub(super) fn is_label_value(text: &str) -> bool {
    is_wrapped(
        text,
        63,
        |c| c.is_ascii_alphanumeric(),
        |c| matches!(c, '-' | '_' | '.'),
    )
}

/// The key of a label: a name, and a DNS subdomain with '/' before it or none.
pub(super) fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_label_value(name),
        None => is_label_value(text),
    }
}

/// The name of a metric, for people: at most 63 characters.
pub(super) fn is_metric_name(text: &str) -> bool {
    is_wrapped(
        text,
        63,
        |c| c.is_ascii_alphanumeric(),
        |c| matches!(c, '-' | '_' | '.' | ' '),
    )
}

/// A Slack channel: one word of at most 80 characters, '#' before it or not.
pub(super) fn is_channel(text: &str) -> bool {
    let word = text.strip_prefix('#').unwrap_or(text);
    let fits = |c: char| !(c == '#' || c == '@' || c.is_whitespace());
    (1..=80).contains(&word.chars().count()) && word.chars().all(fits)
}

fn is_wrapped(text: &str, longest: usize, outside: fn(char) -> bool, inside: fn(char) -> bool) -> bool {
    (1..=longest).contains(&text.len())
        && text.chars().all(|c| outside(c) || inside(c))
        && text.starts_with(outside)
        && text.ends_with(outside)
}
