"""The misspecification gap: what parallel predictions lose against sequential ones, and a circuit wins back."""
