"""What editors want, chosen from the tables: thumbnails, highlights, montages and their timelines."""
