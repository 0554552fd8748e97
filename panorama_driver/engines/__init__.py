"""What runs a bundle. Every engine emits the same raw events, in the words of Pegasus."""
