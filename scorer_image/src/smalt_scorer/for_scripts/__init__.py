"""What Azure's score scripts import, file by file; `smalt_scorer.azure_modules` gives each its name."""
