//! Takes secrets out of text for people.

use std::collections::BTreeSet;

/// Shorter secrets than this cannot be told from other words; whoever has one has other worries.
const SECRET_BYTES_MIN: usize = 3;

/// Secrets that are hidden.
#[derive(Default)]
pub(crate) struct Mask {
    secrets: BTreeSet<String>,
}

impl Mask {
    /// Hides `secret`, as it is, percent-encoded, and as a debug print would quote it.
    pub(crate) fn add(&mut self, secret: &str) {
        let encoded: String = secret
            .bytes()
            .map(|byte| match byte {
                b if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~') => {
                    char::from(b).to_string()
                }
                b => format!("%{b:02X}"),
            })
            .collect();
        let quoted = format!("{secret:?}");
        for form in [secret, &encoded, quoted.trim_matches('"')] {
            if form.len() >= SECRET_BYTES_MIN {
                self.secrets.insert(form.to_owned());
            }
        }
    }

    /// Hides the password of a URL.
    pub(crate) fn add_url(&mut self, url: &str) {
        let Some((_, rest)) = url.split_once("://") else { return };
        let authority = rest.find('/').map_or(rest, |end| &rest[..end]);
        let user_part = authority.rsplit_once('@').or_else(|| rest.rsplit_once('@'));
        if let Some((_, password)) = user_part.and_then(|(user, _)| user.split_once(':')) {
            self.add(password);
        }
        if let Some((_, tail)) = rest.split_once("password=") {
            self.add(tail.split('&').next().unwrap_or_default());
        }
    }

    /// `text` with `***` in the place of every secret; the longest go first, as one may hold another.
    pub(crate) fn hide(&self, text: &str) -> String {
        let mut secrets: Vec<&String> = self.secrets.iter().collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.into_iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }
}

#[cfg(test)]
mod tests {
    use super::Mask;

    #[test]
    fn secrets_go_in_every_form() {
        let mut mask = Mask::default();
        mask.add("p@ss\"word");
        mask.add_url("redis://u:s3cr/et@host:6379/1?password=other");
        let text = "a p@ss\"word b p%40ss%22word c p@ss\\\"word d s3cr/et e s3cr%2Fet f other host";
        assert_eq!(mask.hide(text), "a *** b *** c *** d *** e *** f *** host");
    }
}
