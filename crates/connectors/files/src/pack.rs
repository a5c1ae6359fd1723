//! Packs pieces of work into few partitions of about the same size.
//!
//! Every partition holds an open file and its memory, so there are never more of them than the scan may read at once:
//! a folder of hundreds of files is read by few readers, each going through its files in order. Neighbours stay
//! together, so the order of files is kept.

/// The pieces, in order, as at most `most` groups of neighbours whose largest is as small as it can be.
pub(crate) fn pack<T>(pieces: Vec<(T, u64)>, most: usize) -> Vec<Vec<T>> {
    let most = most.max(1);
    if pieces.len() <= most {
        return pieces.into_iter().map(|(piece, _)| vec![piece]).collect();
    }
    // An empty file still has to be opened.
    let sizes: Vec<u64> = pieces.iter().map(|(_, bytes)| (*bytes).max(1)).collect();
    let largest = sizes.iter().copied().max().unwrap_or(1);
    let total = sizes.iter().fold(0u64, |sum, bytes| sum.saturating_add(*bytes));
    let (mut low, mut high) = (largest, total);
    while low < high {
        let middle = low + (high - low) / 2;
        if groups(&sizes, middle) <= most {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    let mut packed: Vec<Vec<T>> = Vec::with_capacity(most);
    let mut room = 0;
    for ((piece, _), bytes) in pieces.into_iter().zip(sizes) {
        match packed.last_mut() {
            Some(group) if bytes <= room => {
                group.push(piece);
                room -= bytes;
            }
            _ => {
                packed.push(vec![piece]);
                room = high - bytes;
            }
        }
    }
    packed
}

/// How many groups there are when none is larger than `capacity`.
fn groups(sizes: &[u64], capacity: u64) -> usize {
    let (mut count, mut room) = (0, 0);
    for bytes in sizes {
        if *bytes > room {
            (count, room) = (count + 1, capacity);
        }
        room -= bytes;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(sizes: &[u64], most: usize) -> Vec<Vec<usize>> {
        pack(sizes.iter().copied().enumerate().collect(), most)
    }

    #[test]
    fn few_pieces_are_partitions_of_their_own() {
        assert_eq!(packed(&[], 4), Vec::<Vec<usize>>::new());
        assert_eq!(packed(&[5, 0], 2), [vec![0], vec![1]]);
        assert_eq!(packed(&[5, 7], 0), [vec![0, 1]]);
    }

    #[test]
    fn many_pieces_become_few_groups_of_about_the_same_size() {
        assert_eq!(
            packed(&[1, 1, 1, 1, 1, 1, 1, 9], 2),
            [vec![0, 1, 2, 3, 4, 5, 6], vec![7]]
        );
        assert_eq!(packed(&[0; 6], 3), [vec![0, 1], vec![2, 3], vec![4, 5]]);
        let many = packed(&(0..500).collect::<Vec<_>>(), 8);
        assert_eq!(many.concat(), (0..500).collect::<Vec<_>>());
        assert_eq!(many.len(), 8);
        let largest = many.iter().map(|group| group.iter().sum::<usize>()).max();
        assert!(largest.is_some_and(|bytes| bytes < 17_000), "{largest:?}");
    }
}
