//! The peer's way of writing options, rewritten into clap's: it parses with Go's `flag` package, where one dash is as
//! good as two, the last of two equal options wins, a switch may carry `=true` or `=0`, and a value may begin with a
//! dash.

use clap::{Arg, ArgAction, Command};
use std::ffi::{OsStr, OsString};

/// The same command line as clap reads it. What `root` does not know stays as it is, for clap to complain about.
///
/// # Errors
/// A switch whose value is no boolean.
pub(crate) fn rewrite(arguments: &[OsString], root: &Command) -> Result<Vec<OsString>, String> {
    let mut words = arguments.iter();
    let mut rewritten: Vec<OsString> = words.next().cloned().into_iter().collect();
    let mut command = root;
    while let Some(word) = words.next() {
        let text = word.to_str().unwrap_or_default();
        if text == "--" {
            rewritten.push(word.clone());
            rewritten.extend(words.by_ref().cloned());
            break;
        }
        let option = text.strip_prefix('-').filter(|rest| !rest.is_empty());
        let Some(option) = option.map(|rest| rest.strip_prefix('-').unwrap_or(rest)) else {
            command = command.find_subcommand(text).unwrap_or(command);
            rewritten.push(word.clone());
            continue;
        };
        let (name, value) =
            option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value)));
        match find(name, command).or_else(|| find(name, root)) {
            None => rewritten.push(word.clone()),
            Some(arg) if is_switch(arg) => rewritten.extend(switch(arg, value)?),
            Some(arg) => match value.map(OsStr::new).or_else(|| words.next().map(OsString::as_os_str)) {
                None => rewritten.push(canonical(arg).into()),
                Some(value) => rewritten.extend(with_value(arg, value)),
            },
        }
    }
    Ok(rewritten)
}

fn find<'a>(name: &str, command: &'a Command) -> Option<&'a Arg> {
    command.get_arguments().filter(|arg| !arg.is_positional()).find(|arg| {
        let is_alias = || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&name));
        let is_short = || arg.get_short().is_some_and(|short| name.chars().eq([short]));
        arg.get_long() == Some(name) || is_alias() || is_short()
    })
}

fn takes_optional_value(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|range| range.takes_values() && range.min_values() == 0)
}

fn is_switch(arg: &Arg) -> bool {
    !matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) || takes_optional_value(arg)
}

fn canonical(arg: &Arg) -> String {
    match (arg.get_long(), arg.get_short()) {
        (Some(long), _) => format!("--{long}"),
        (None, short) => short.map(|short| format!("-{short}")).unwrap_or_default(),
    }
}

fn switch(arg: &Arg, value: Option<&str>) -> Result<Option<OsString>, String> {
    let name = canonical(arg);
    let on = match value {
        None => return Ok(Some(name.into())),
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
        Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
        Some(other) => return Err(format!("`{other}` is no value of {name}: use true or false")),
    };
    if takes_optional_value(arg) {
        return Ok(Some(format!("{name}={on}").into()));
    }
    Ok(on.then(|| name.into()))
}

fn with_value(arg: &Arg, value: &OsStr) -> Vec<OsString> {
    let mut word = OsString::from(canonical(arg));
    if arg.get_long().is_none() {
        return vec![word, value.to_owned()];
    }
    word.push("=");
    word.push(value);
    vec![word]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(line: &str) -> Result<String, String> {
        let mut root = crate::args::command();
        root.build();
        let words: Vec<_> = line.split(' ').map(OsString::from).collect();
        let words = rewrite(&words, &root)?;
        Ok(words.join(OsStr::new(" ")).to_string_lossy().into_owned())
    }

    #[test]
    fn gos_spellings_become_claps() {
        for (line, wanted) in [
            ("juicefs status -s 3 M", "juicefs status --session=3 M"),
            ("juicefs status --s 3 M", "juicefs status --session=3 M"),
            ("juicefs config -trash-days 9 M", "juicefs config --trash-days=9 M"),
            ("juicefs config M --capacity -1", "juicefs config M --capacity=-1"),
            ("juicefs config M --dir-stats=0", "juicefs config M --dir-stats=false"),
            ("juicefs -v=true status M -q=F", "juicefs --verbose status M"),
            ("juicefs mount M P -o ro,a=b -background", "juicefs mount M P -o ro,a=b --background"),
            ("juicefs mount --writeback=T M P", "juicefs mount --writeback=true M P"),
            ("juicefs --log-id status status M", "juicefs --log-id=status status M"),
            ("juicefs status --nonsense M", "juicefs status --nonsense M"),
            ("juicefs status -- --s", "juicefs status -- --s"),
            ("juicefs status M --session", "juicefs status M --session"),
        ] {
            assert_eq!(rewritten(line).as_deref(), Ok(wanted), "{line}");
        }
        assert!(rewritten("juicefs config M --dir-stats=maybe").expect_err("no boolean").contains("maybe"));
    }
}
