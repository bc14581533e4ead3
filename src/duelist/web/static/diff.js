// Word-level difference of two texts by their longest common subsequence.

const LARGEST_TABLE = 6_000_000; // cells; about 2,400 × 2,400 changed words

export function words(text) {
  return text.match(/\s+|[\p{L}\p{N}\p{M}_]+|[^\s\p{L}\p{N}\p{M}_]/gu) ?? [];
}

// Returns {first, second, similarity}: for each text a list of {text, changed}, in order, and the part of both texts
// that they share (0 to 1, by words). Null when the parts that differ are too long to compare.
export function compare(firstText, secondText) {
  const first = words(firstText);
  const second = words(secondText);
  let start = 0;
  while (start < Math.min(first.length, second.length) && first[start] === second[start]) start += 1;
  let end = 0;
  while (
    end < Math.min(first.length, second.length) - start &&
    first[first.length - 1 - end] === second[second.length - 1 - end]
  ) {
    end += 1;
  }
  const common = commonWords(first.slice(start, first.length - end), second.slice(start, second.length - end));
  if (common === null) return null;
  const shared = [...outside(first, start, end), ...common.map(([i]) => i + start)];
  const total = first.filter(isWord).length + second.filter(isWord).length;
  return {
    first: runs(first, start, end, new Set(common.map(([i]) => i + start))),
    second: runs(second, start, end, new Set(common.map(([, j]) => j + start))),
    similarity: total === 0 ? 1 : (2 * shared.filter((index) => isWord(first[index])).length) / total,
  };
}

// Index pairs of a longest common subsequence.
function commonWords(first, second) {
  const columns = second.length + 1;
  if ((first.length + 1) * columns > LARGEST_TABLE) return null;
  const length = new Uint16Array((first.length + 1) * columns); // of the common subsequence of the two suffixes
  for (let i = first.length - 1; i >= 0; i -= 1) {
    for (let j = second.length - 1; j >= 0; j -= 1) {
      length[i * columns + j] =
        first[i] === second[j]
          ? length[(i + 1) * columns + j + 1] + 1
          : Math.max(length[(i + 1) * columns + j], length[i * columns + j + 1]);
    }
  }
  const pairs = [];
  for (let i = 0, j = 0; i < first.length && j < second.length; ) {
    if (first[i] === second[j]) {
      pairs.push([i, j]);
      i += 1;
      j += 1;
    } else if (length[(i + 1) * columns + j] >= length[i * columns + j + 1]) i += 1;
    else j += 1;
  }
  return pairs;
}

const isWord = (token) => /[\p{L}\p{N}]/u.test(token);

// Indices of the tokens before and after the parts that differ.
function outside(tokens, start, end) {
  return [...tokens.keys()].filter((index) => index < start || index >= tokens.length - end);
}

function runs(tokens, start, end, common) {
  const result = [];
  tokens.forEach((token, index) => {
    const changed = index >= start && index < tokens.length - end && !common.has(index);
    const last = result.at(-1);
    if (last && last.changed === changed) last.text += token;
    else result.push({ text: token, changed });
  });
  return result;
}
