"""The audit: does a system's answer to a text depend on the batch that the text is in?"""
