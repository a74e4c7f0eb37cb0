"""The reference implementations: reads pairs as JSON lines, prints their scores as JSON lines, and the
corpus' BLEU last."""
import json
import sys

import sacrebleu
from nltk.stem.snowball import SnowballStemmer
from nltk.tokenize import wordpunct_tokenize
from nltk.translate.meteor_score import single_meteor_score
from rouge_score import rouge_scorer


class NoSynonyms:
    """WordNet without a word: the matcher of synonyms finds nothing beyond what the others found."""

    def synsets(self, word):
        return []


def main():
    scorer = rouge_scorer.RougeScorer(["rouge1", "rougeL"], use_stemmer=False)
    stemmer = SnowballStemmer("english")
    pairs = [json.loads(line) for line in sys.stdin]
    for text, reference in pairs:
        rouge = scorer.score(reference, text)
        meteor = single_meteor_score(
            wordpunct_tokenize(reference),
            wordpunct_tokenize(text),
            stemmer=stemmer,
            wordnet=NoSynonyms(),
        )
        bleu = sacrebleu.sentence_bleu(text, [reference]).score
        print(json.dumps([rouge["rouge1"].fmeasure, rouge["rougeL"].fmeasure, meteor, bleu]))
    texts, references = zip(*pairs)
    print(json.dumps(sacrebleu.corpus_bleu(texts, [references]).score))


if __name__ == "__main__":
    main()
