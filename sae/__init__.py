"""The science of RayLens: language models, sparse autoencoders, metrics, features and file formats. Knows no Ray."""
