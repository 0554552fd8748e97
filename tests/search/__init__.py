"""On a real search engine: what was made for Panorama's indices, how documents are kept, versions."""
