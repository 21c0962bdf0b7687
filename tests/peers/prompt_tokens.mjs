// Writes how many tokens OpenAI's tokenizers make of texts that are as bad for them as can be:
// tests/fixtures/prompt-tokens.tsv.
//
// Run on request, never by the tests, which read what was written:
//
//     npm install --prefix target/tokenizer gpt-tokenizer@3.4.0
//     node tests/peers/prompt_tokens.mjs
//
// A line is letters, how many of them make a word, what stands behind it (with \n and \t written out), how many
// words, the tokens by o200k_base and by cl100k_base, all parted by tabs. The words are drawn by the generator below,
// which stands in the test as well; for `pairs` each letter is one that follows the one before in many words, by the
// table in src/costs/ledger/prompt_size.rs.

import fs from 'node:fs';
import path from 'node:path';

const root = path.resolve(import.meta.dirname, '..');
const encoding = async (name) =>
    import(path.join(root, '..', 'target/tokenizer/node_modules/gpt-tokenizer/esm/encoding', `${name}.js`));
const tokenizers = [await encoding('o200k_base'), await encoding('cl100k_base')];

const source = fs.readFileSync(path.join(root, '..', 'src/costs/ledger/prompt_size.rs'), 'utf8');
const followers = [...source.matchAll(/^ {4}b"([a-z]*)",$/gm)].map((found) => found[1]);
if (followers.length !== 26) throw new Error(`${followers.length} letters have followers`);

const ALL = 'abcdefghijklmnopqrstuvwxyz';
const LETTERS = [ALL, 'qxzjvkwy', 'bcdfghjklmnpqrstvwxz', 'abcdef', 'acgt', 'aeiou', 'yn', 'pairs'];
const LENGTHS = [1, 2, 3, 4, 6, 8, 40];
const BEHIND = [' ', '\n', '', '\t', '  ', '   ', ', ', '_', '\n    '];

function* numbers() {
    let state = 7;
    for (;;) {
        state = (Math.imul(state, 1103515245) + 12345) >>> 0;
        yield state >>> 8;
    }
}

function textOf(letters, length, behind, words) {
    const drawn = numbers();
    const draw = (from) => from[drawn.next().value % from.length];
    let text = '';
    for (let word = 0; word < words; word++) {
        let letter = '';
        for (let at = 0; at < length; at++) {
            const next = letters === 'pairs' ? letter && followers[ALL.indexOf(letter)] : letters;
            letter = draw(next || ALL);
            text += letter;
        }
        text += behind;
    }
    return text;
}

const lines = [];
for (const letters of LETTERS) {
    for (const length of LENGTHS) {
        for (const behind of BEHIND) {
            const words = Math.floor(2400 / length);
            const text = textOf(letters, length, behind, words);
            const tokens = tokenizers.map((tokenizer) => tokenizer.encode(text).length);
            const written = behind.replace('\n', '\\n').replace('\t', '\\t');
            lines.push([letters, length, written, words, ...tokens].join('\t'));
        }
    }
}
fs.writeFileSync(path.join(root, 'fixtures', 'prompt-tokens.tsv'), `${lines.join('\n')}\n`);
console.log(`${lines.length} texts`);
