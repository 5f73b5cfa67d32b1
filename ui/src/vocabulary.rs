//! Which words of a prompt the model has never met.

use std::collections::HashSet;
use std::ops::Range;

/// Byte ranges of the words of `prompt` that are not in `vocabulary` (lower case). Letters of alphabets make words;
/// Chinese has no spaces, so its characters are matched by the longest entry of the vocabulary that fits. An empty
/// vocabulary means that nothing is known about it: nothing is marked.
pub fn unknown(prompt: &str, vocabulary: &HashSet<String>) -> Vec<Range<usize>> {
    if vocabulary.is_empty() {
        return Vec::new();
    }
    let longest = vocabulary.iter().map(|w| w.chars().count()).max().unwrap_or(1);
    let chars: Vec<(usize, char)> = prompt.char_indices().collect();
    let end_of = |i: usize| chars.get(i).map_or(prompt.len(), |(at, _)| *at);
    let mut out: Vec<Range<usize>> = Vec::new();
    let mut i = 0;
    while let Some(&(at, c)) = chars.get(i) {
        if is_han(c) {
            let known = (1..=longest.min(chars.len() - i))
                .rev()
                .find(|n| prompt.get(at..end_of(i + n)).is_some_and(|word| vocabulary.contains(word)));
            if known.is_none() {
                match out.last_mut().filter(|r| r.end == at) {
                    Some(range) => range.end = end_of(i + 1),
                    None => out.push(at..end_of(i + 1)),
                }
            }
            i += known.unwrap_or(1);
        } else if c.is_alphabetic() {
            let mut j = i;
            while chars
                .get(j)
                .is_some_and(|(_, c)| !is_han(*c) && (c.is_alphanumeric() || *c == '\'' || *c == '-'))
            {
                j += 1;
            }
            let range = at..end_of(j);
            let word = prompt.get(range.clone()).unwrap_or_default().to_lowercase();
            if !vocabulary.contains(&word) && !word.split('-').all(|part| vocabulary.contains(part)) {
                out.push(range);
            }
            i = j;
        } else {
            i += 1;
        }
    }
    out
}

fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{2ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'a>(prompt: &'a str, words: &[&str]) -> Vec<&'a str> {
        let vocabulary = words.iter().map(|w| (*w).to_owned()).collect();
        unknown(prompt, &vocabulary).into_iter().map(|r| &prompt[r]).collect()
    }

    #[test]
    fn marks_words_by_their_letters_and_not_by_their_case() {
        assert_eq!(found("Push the RED elephant, now!", &["push", "the", "red", "now"]), ["elephant"]);
        assert_eq!(found("push-red it's 42 ...", &["push", "red"]), ["it's"]);
    }

    #[test]
    fn chinese_is_matched_by_the_longest_entry() {
        assert_eq!(found("把紅色方塊推到左邊", &["把", "紅色", "方塊", "推到", "左邊"]), Vec::<&str>::new());
        assert_eq!(found("把大象推到左邊", &["把", "推", "到", "左", "邊"]), ["大象"]);
    }

    #[test]
    fn mixed_text_and_no_vocabulary() {
        assert_eq!(found("把cube推", &["把", "推"]), ["cube"]);
        assert_eq!(found("anything 什麼", &[]), Vec::<&str>::new());
    }
}
