//! What pwctl must have answered.

use pipewright_tests::ctl::Answer;

/// The answer is a refusal with that reason, and names each part. Gives what was said.
#[track_caller]
pub(crate) fn refused(answer: Answer, reason: &str, parts: &[&str]) -> String {
    let Answer { line, code, stdout, stderr } = answer;
    assert_eq!(code, 1, "`{line}` should have been refused: {stdout}{stderr}");
    assert!(stderr.contains(&format!("[{reason}]")), "`{line}` was not refused with {reason}: {stderr}");
    names(&line, &stderr, parts);
    stderr
}

/// The answer is exit code 2, without anything having been asked, and names each part.
#[track_caller]
pub(crate) fn misused(answer: Answer, parts: &[&str]) {
    let Answer { line, code, stdout, stderr } = answer;
    assert_eq!(code, 2, "`{line}` should have been wrong usage: {stdout}{stderr}");
    assert_eq!(stdout, "", "`{line}`");
    names(&line, &stderr, parts);
}

#[track_caller]
fn names(line: &str, said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "`{line}` does not say {part:?}: {said}");
    }
}
