"""What rank-bm25 and scikit-learn say of the same input: JSON on standard input and output."""

import json
import sys


def bm25(cases):
    from rank_bm25 import BM25Okapi

    def scores(case):
        index = BM25Okapi([document.split() for document in case["documents"]])
        return index.get_scores(case["query"].split()).tolist()

    return [scores(case) for case in cases]


def kmeans(cases):
    import numpy
    from sklearn.cluster import KMeans

    def inertia(case):
        points = numpy.array(case["points"], dtype=numpy.float64)
        return KMeans(case["clusters"], n_init=10, random_state=0).fit(points).inertia_

    return [inertia(case) for case in cases]


json.dump({"bm25": bm25, "kmeans": kmeans}[sys.argv[1]](json.load(sys.stdin)), sys.stdout)
