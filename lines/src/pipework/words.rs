//! Words to options and operands. pipework takes its options in one order and in one place only; here they may stand
//! anywhere before the last operand, which takes in its order, too.

use super::form::Refused;

/// A line, sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// `-i`.
    pub(super) ifname: Option<String>,
    /// `-l`.
    pub(super) host_ifname: Option<String>,
    /// `-a`.
    pub(super) family: Option<String>,
    /// `--direct-phys`.
    pub(super) direct: bool,
    /// `--wait`.
    pub(super) wait: bool,
    /// The rest, in its order.
    pub(super) operands: Vec<String>,
}

/// The first word that is neither an option nor an option's value: the host interface, or a keyword.
pub(super) fn first_operand(words: &[String]) -> Option<&str> {
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "-i" | "-l" | "-a" => {
                rest.next();
            }
            "--direct-phys" | "--wait" => {}
            operand => return Some(operand),
        }
    }
    None
}

/// Sorts options from operands.
///
/// # Errors
/// An option that pipework does not have, one that is given twice, or one without its value.
pub(super) fn sort(words: &[String]) -> Result<Words, Refused> {
    let mut sorted = Words::default();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let (flag, slot) = match word.as_str() {
            "-i" => ("-i", &mut sorted.ifname),
            "-l" => ("-l", &mut sorted.host_ifname),
            "-a" => ("-a", &mut sorted.family),
            "--direct-phys" => {
                sorted.direct = true;
                continue;
            }
            "--wait" => {
                sorted.wait = true;
                continue;
            }
            option if is_option(option) => {
                return Err(Refused::because(format!(
                    "{option}: pipework has no such option; it has -i, -l, -a, --direct-phys and --wait"
                )));
            }
            operand => {
                sorted.operands.push(operand.to_owned());
                continue;
            }
        };
        let Some(value) = rest.next() else {
            return Err(Refused::because(format!("{flag}: its value is missing")));
        };
        if let Some(before) = slot.replace(value.clone()) {
            return Err(Refused::because(format!("{flag}: it is there twice, as {before} and as {value}")));
        }
    }
    Ok(sorted)
}

fn is_option(word: &str) -> bool {
    word.starts_with('-') && word.len() > 1
}
