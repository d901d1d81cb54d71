//! What differs between two texts, line by line: Eugene Myers, "An O(ND) Difference Algorithm and Its Variations" (1986),
//! the greedy form; shown as POSIX diff -u does.

use serde::Serialize;

/// Lines of context before and after a change.
const CONTEXT: usize = 3;
/// Texts that differ by more lines are shown as all old, then all new: time and memory grow with the square.
const MOST: usize = 1000;

/// Changes that lie together, with the lines around them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hunk {
    /// Its first line in the old text, 1-based; 0 if it has none there.
    pub from: usize,
    /// Its first line in the new text, likewise.
    pub to: usize,
    /// Its lines, each begun with a space, `-` or `+`.
    pub lines: Vec<String>,
}

impl Hunk {
    /// How many of its lines have one of these marks.
    pub fn count(&self, marks: &[char]) -> usize {
        self.lines.iter().filter(|line| line.starts_with(marks)).count()
    }

    /// `@@ -1,3 +1,4 @@`
    pub fn heading(&self) -> String {
        let (old, new) = (self.count(&[' ', '-']), self.count(&[' ', '+']));
        format!("@@ -{},{old} +{},{new} @@", self.from, self.to)
    }
}

/// One line of both texts together: its index there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Same(usize, usize),
    Old(usize),
    New(usize),
}

/// The hunks that lead from one text to the other; none: they are the same.
pub fn hunks(from: &str, to: &str) -> Vec<Hunk> {
    let (old, new): (Vec<&str>, Vec<&str>) = (from.lines().collect(), to.lines().collect());
    let mut steps = steps(&old, &new);
    let end = |text: &str| text.is_empty() || text.ends_with('\n');
    // The last line alone may differ by its end; diff says so in a line of its own.
    let same = steps.iter().all(|step| matches!(step, Step::Same(..)));
    if same
        && end(from) != end(to)
        && let Some(Step::Same(a, b)) = steps.pop()
    {
        steps.extend([Step::Old(a), Step::New(b)]);
    }
    let changed: Vec<usize> =
        (0..steps.len()).filter(|&at| !matches!(steps[at], Step::Same(..))).collect();
    let mut hunks = Vec::new();
    let mut rest = &changed[..];
    while let Some(&first) = rest.first() {
        let last = rest.iter().zip(&rest[1..]).position(|(one, next)| next - one > 2 * CONTEXT + 1);
        let count = last.map_or(rest.len(), |index| index + 1);
        let range = first.saturating_sub(CONTEXT)..(rest[count - 1] + CONTEXT + 1).min(steps.len());
        hunks.push(hunk(&steps[range], &old, &new));
        rest = &rest[count..];
    }
    hunks
}

fn hunk(steps: &[Step], old: &[&str], new: &[&str]) -> Hunk {
    let from = steps.iter().find_map(|step| match step {
        Step::Same(at, _) | Step::Old(at) => Some(at + 1),
        Step::New(_) => None,
    });
    let to = steps.iter().find_map(|step| match step {
        Step::Same(_, at) | Step::New(at) => Some(at + 1),
        Step::Old(_) => None,
    });
    let line = |step: &Step| match *step {
        Step::Same(at, _) => format!(" {}", old[at]),
        Step::Old(at) => format!("-{}", old[at]),
        Step::New(at) => format!("+{}", new[at]),
    };
    let lines = steps.iter().map(line).collect();
    Hunk { from: from.unwrap_or_default(), to: to.unwrap_or_default(), lines }
}

fn steps(old: &[&str], new: &[&str]) -> Vec<Step> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (&old[head..], &new[head..]);
    let tail = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old_mid, new_mid) =
        (&old_rest[..old_rest.len() - tail], &new_rest[..new_rest.len() - tail]);
    let mut steps: Vec<_> = (0..head).map(|at| Step::Same(at, at)).collect();
    let shifted = |step| match step {
        Step::Same(a, b) => Step::Same(a + head, b + head),
        Step::Old(a) => Step::Old(a + head),
        Step::New(b) => Step::New(b + head),
    };
    steps.extend(shortest(old_mid, new_mid).into_iter().map(shifted));
    let (a, b) = (old.len() - tail, new.len() - tail);
    steps.extend((0..tail).map(|at| Step::Same(a + at, b + at)));
    steps
}

/// The shortest way, if it is not too long.
fn shortest(old: &[&str], new: &[&str]) -> Vec<Step> {
    let all = || (0..old.len()).map(Step::Old).chain((0..new.len()).map(Step::New)).collect();
    let most = MOST.min(old.len() + new.len());
    // How far down the old text each diagonal got; `reached` after each number of changes.
    let mut furthest = vec![0_usize; 2 * most + 3];
    let at = |diagonal: isize| (diagonal + most.cast_signed() + 1).cast_unsigned();
    let mut reached = Vec::new();
    for changes in 0..=most.cast_signed() {
        reached.push(furthest.clone());
        let mut diagonal = -changes;
        while diagonal <= changes {
            let down = diagonal == -changes
                || (diagonal != changes && furthest[at(diagonal - 1)] < furthest[at(diagonal + 1)]);
            let mut x =
                if down { furthest[at(diagonal + 1)] } else { furthest[at(diagonal - 1)] + 1 };
            let mut y = x.checked_add_signed(-diagonal).unwrap_or(usize::MAX);
            while x < old.len() && y < new.len() && old[x] == new[y] {
                (x, y) = (x + 1, y + 1);
            }
            furthest[at(diagonal)] = x;
            if x >= old.len() && y >= new.len() {
                return way_back(&reached, at, (old.len(), new.len()));
            }
            diagonal += 2;
        }
    }
    all()
}

/// From the ends of both texts to their beginnings.
fn way_back(
    reached: &[Vec<usize>],
    at: impl Fn(isize) -> usize,
    (mut x, mut y): (usize, usize),
) -> Vec<Step> {
    let mut steps = Vec::new();
    for (changes, furthest) in reached.iter().enumerate().rev() {
        let (changes, diagonal) = (changes.cast_signed(), x.cast_signed() - y.cast_signed());
        let down = diagonal == -changes
            || (diagonal != changes && furthest[at(diagonal - 1)] < furthest[at(diagonal + 1)]);
        let before = if down { diagonal + 1 } else { diagonal - 1 };
        let (from_x, from_y) = match changes {
            0 => (0, 0),
            _ => {
                let from_x = furthest[at(before)];
                (from_x, from_x.checked_add_signed(-before).unwrap_or(0))
            }
        };
        while x > from_x && y > from_y {
            (x, y) = (x - 1, y - 1);
            steps.push(Step::Same(x, y));
        }
        if changes > 0 {
            steps.push(if down { Step::New(from_y) } else { Step::Old(from_x) });
            (x, y) = (from_x, from_y);
        }
    }
    steps.reverse();
    steps
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(from: &str, to: &str) -> String {
        let hunks = hunks(from, to);
        hunks
            .iter()
            .map(|hunk| format!("{}\n{}\n", hunk.heading(), hunk.lines.join("\n")))
            .collect()
    }

    #[test]
    fn hunks_are_as_diff_shows_them() {
        let old = "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\nn\n";
        assert_eq!(shown(old, old), "");
        let new = old.replace("b\n", "").replace("l\n", "L\nL2\n");
        assert_eq!(
            shown(old, &new),
            "@@ -1,5 +1,4 @@\n a\n-b\n c\n d\n e\n@@ -9,6 +8,7 @@\n i\n j\n k\n-l\n+L\n+L2\n m\n n\n"
        );
        assert_eq!(shown("", "x\n"), "@@ -0,0 +1,1 @@\n+x\n");
        assert_eq!(shown("x\n", ""), "@@ -1,1 +0,0 @@\n-x\n");
        assert_eq!(shown("x", "x\n"), "@@ -1,1 +1,1 @@\n-x\n+x\n");
    }

    #[test]
    fn texts_that_have_nothing_in_common_are_shown_nevertheless() {
        let many =
            |word: &str| (0..3000).map(|number| format!("{word}{number}\n")).collect::<String>();
        let hunks = hunks(&many("a"), &many("b"));
        assert_eq!((hunks.len(), hunks[0].count(&['-']), hunks[0].count(&['+'])), (1, 3000, 3000));
    }

    proptest! {
        /// Whatever the texts, the steps give back both, and no shorter way is missed where one line was put in.
        #[test]
        fn steps_lead_from_one_text_to_the_other(
            old in prop::collection::vec("[ab]", 0..12), new in prop::collection::vec("[abc]", 0..12),
        ) {
            let old: Vec<&str> = old.iter().map(String::as_str).collect();
            let new: Vec<&str> = new.iter().map(String::as_str).collect();
            let steps = steps(&old, &new);
            let (mut a, mut b, mut same) = (vec![], vec![], 0);
            for step in steps {
                match step {
                    Step::Same(x, y) => {
                        prop_assert_eq!(old[x], new[y]);
                        a.push(x);
                        b.push(y);
                        same += 1;
                    }
                    Step::Old(x) => a.push(x),
                    Step::New(y) => b.push(y),
                }
            }
            prop_assert_eq!(a, (0..old.len()).collect::<Vec<_>>());
            prop_assert_eq!(b, (0..new.len()).collect::<Vec<_>>());
            prop_assert_eq!(same, longest_common(&old, &new));
        }
    }

    /// By the book: a table of all prefixes.
    fn longest_common(old: &[&str], new: &[&str]) -> usize {
        let mut table = vec![vec![0; new.len() + 1]; old.len() + 1];
        for (x, a) in old.iter().enumerate() {
            for (y, b) in new.iter().enumerate() {
                table[x + 1][y + 1] =
                    if a == b { table[x][y] + 1 } else { table[x][y + 1].max(table[x + 1][y]) };
            }
        }
        table[old.len()][new.len()]
    }
}
