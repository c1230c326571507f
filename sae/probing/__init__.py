"""Probing: what an SAE's latents say about labelled documents, beside controls.

Everything is a mean over the data positions of a document. Latents are chosen and probes are trained on training documents;
figures are of test documents.
"""
